"""Signed webhooks as Standard Webhooks (https://www.standardwebhooks.com) has them: signing and verifying. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping

ID_HEADER, TIME_HEADER, SIGNATURE_HEADER = "webhook-id", "webhook-timestamp", "webhook-signature"
TOLERANCE_SECONDS = 300.0
LONGEST_TIME = 12  # digits
_PREFIX = "whsec_"
_VERSION = "v1,"


class WebhookRefused(Exception):
    """A delivery that is not what its sender signed, or not of now."""


def derived_secret(key: str, purpose: str) -> str:
    """A secret that nobody has to keep: made of the installation's key and what it is for."""
    return _PREFIX + base64.b64encode(hmac.digest(key.encode(), purpose.encode(), hashlib.sha256)).decode()


def owner_secret(key: str, owner: str) -> str:
    """By which a principal's callbacks are signed. key: the installation's `hooks_key`."""
    return derived_secret(key, f"owner:{owner}")


def signature(secret: str, id_: str, timestamp: int, body: bytes) -> str:
    """Raises ValueError for a secret that is none."""
    return (
        _VERSION
        + base64.b64encode(hmac.digest(_key(secret), f"{id_}.{timestamp}.".encode() + body, hashlib.sha256)).decode()
    )


def signed_headers(secret: str, id_: str, timestamp: int, body: bytes) -> dict[str, str]:
    """timestamp: of this try, seconds since 1970. id_: the same at each try."""
    return {ID_HEADER: id_, TIME_HEADER: str(timestamp), SIGNATURE_HEADER: signature(secret, id_, timestamp, body)}


def verify(
    secret: str, headers: Mapping[str, str], body: bytes, now: float, tolerance_seconds: float = TOLERANCE_SECONDS
) -> str:
    """The delivery's id, of which the receiver takes one only. headers: by names in small letters; there may be several
    signatures, with spaces between. Raises WebhookRefused, ValueError for a secret that is none.
    """
    id_, said, given = (headers.get(name, "") for name in (ID_HEADER, TIME_HEADER, SIGNATURE_HEADER))
    if not (id_ and said and given):
        raise WebhookRefused("a header is missing")
    if not (said.isascii() and said.isdecimal() and len(said) <= LONGEST_TIME):
        raise WebhookRefused("the time is no number")
    if abs(now - int(said)) > tolerance_seconds:
        raise WebhookRefused("it is not of now")
    wanted = signature(secret, id_, int(said), body).encode()
    found = [hmac.compare_digest(one.encode(), wanted) for one in given.split(" ")]
    if not any(found):
        raise WebhookRefused("the signature is not this body's")
    return id_


def _key(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError("a webhook's secret is `whsec_` and base64") from None
