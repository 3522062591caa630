"""Errors with a status and a code, and the two shapes they are told in: RFC 9457 problems and OpenAI's."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import Any, ClassVar

from starlette.responses import JSONResponse


class ApiError(Exception):
    """ApiError
    ├── InvalidRequest 400, Unauthorized 401, Forbidden 403, NotFound 404, Conflict 409, TooLarge 413,
    │   ValidationFailed 422, TooManyRequests 429                      (the caller's)
    └── InternalError 500, UpstreamFailed 502, Unavailable 503, DeadlineExceeded 504   (ours, or a part's)

    code: one word for programs. detail: what happened and what to do, for people. param: the field at fault.
    retry_after_seconds: when asking again may help.
    """

    status: int = 500
    error_type: ClassVar[str] = "api_error"
    default_code: ClassVar[str] = "internal_error"

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after_seconds: float | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or self.default_code
        self.param = param
        self.retry_after_seconds = retry_after_seconds
        if status is not None:
            self.status = status

    @property
    def headers(self) -> dict[str, str]:
        """`Retry-After` in whole seconds, where it applies."""
        if self.retry_after_seconds is None:
            return {}
        return {"retry-after": str(max(1, math.ceil(self.retry_after_seconds)))}


class InvalidRequest(ApiError):
    status, error_type, default_code = 400, "invalid_request_error", "invalid_request"


class Unauthorized(ApiError):
    status, error_type, default_code = 401, "authentication_error", "invalid_api_key"


class Forbidden(ApiError):
    status, error_type, default_code = 403, "permission_error", "forbidden"


class NotFound(ApiError):
    status, error_type, default_code = 404, "invalid_request_error", "not_found"


class Conflict(ApiError):
    status, error_type, default_code = 409, "invalid_request_error", "conflict"


class TooLarge(ApiError):
    status, error_type, default_code = 413, "invalid_request_error", "body_too_large"


class ValidationFailed(ApiError):
    status, error_type, default_code = 422, "invalid_request_error", "invalid_field"


class TooManyRequests(ApiError):
    status, error_type, default_code = 429, "rate_limit_error", "too_many_requests"


class InternalError(ApiError):
    pass


class UpstreamFailed(ApiError):
    status, default_code = 502, "upstream_failed"


class Unavailable(ApiError):
    status, default_code = 503, "unavailable"


class DeadlineExceeded(ApiError):
    status, default_code = 504, "deadline_exceeded"


_BY_STATUS: dict[int, type[ApiError]] = {
    kind.status: kind
    for kind in (
        InvalidRequest, Unauthorized, Forbidden, NotFound, Conflict, TooLarge, ValidationFailed, TooManyRequests,
        InternalError, UpstreamFailed, Unavailable, DeadlineExceeded,
    )
}  # fmt: skip


def error_of(status: int, detail: str, **fields: Any) -> ApiError:
    """The named error of an HTTP status (an unlisted 4xx is an InvalidRequest, an unlisted 5xx an UpstreamFailed)."""
    kind = _BY_STATUS.get(status) or (InvalidRequest if status < 500 else UpstreamFailed)
    return kind(detail, status=status, **fields)


_PHRASES = {status.value: status.phrase for status in HTTPStatus}  # a remote backend may answer with others


def problem(error: ApiError) -> dict[str, Any]:
    """RFC 9457's members, with our `code` and `param`."""
    body: dict[str, Any] = {
        "type": f"urn:capibara6:problem:{error.code}",
        "title": _PHRASES.get(error.status, "Error"),
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
    }
    return body | {"param": error.param} if error.param else body


def openai_error(error: ApiError) -> dict[str, Any]:
    """The object OpenAI's clients read."""
    return {"error": {"message": error.detail, "type": error.error_type, "param": error.param, "code": error.code}}


def problem_response(error: ApiError) -> JSONResponse:
    return JSONResponse(problem(error), error.status, error.headers, media_type="application/problem+json")


def openai_response(error: ApiError) -> JSONResponse:
    return JSONResponse(openai_error(error), error.status, error.headers)
