"""What can be wrong with a request, each with the HTTP status that envd and the interpreter answer it with.

RequestError
├── BadRequest         400
├── UnknownUser        401
├── NotFound           404
├── TooSlow            408
├── TooLarge           413
├── TooMany            429
├── NotReady           503
└── NoSpace            507
"""


class RequestError(Exception):
    """A request that is answered with `status` and this message."""

    status = 500


class BadRequest(RequestError):
    """The request makes no sense as it is."""

    status = 400


class UnknownUser(RequestError):
    """A user that a sandbox does not have: everything in it is `user`."""

    status = 401


class NotFound(RequestError):
    """No such file, context or process."""

    status = 404


class TooSlow(RequestError):
    """The body brought nothing for longer than it may."""

    status = 408


class TooLarge(RequestError):
    """The body is larger than it may be, after decompression."""

    status = 413


class TooMany(RequestError):
    """A queue is full."""

    status = 429


class NotReady(RequestError):
    """A kernel cannot be started, or is not ready yet."""

    status = 503


class NoSpace(RequestError):
    """The disk, or its number of files, is used up."""

    status = 507
