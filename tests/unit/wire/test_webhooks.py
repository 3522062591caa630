"""Signatures of Standard Webhooks: its own example, and what a receiver refuses."""

from __future__ import annotations

import pytest

from wire.webhooks import WebhookRefused, derived_secret, signature, signed_headers, verify

# The example of the specification's own libraries (standard-webhooks, libraries/*/test).
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID, THEN, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_specifications_example_is_signed_as_it_says() -> None:
    assert signature(SECRET, ID, THEN, BODY) == SIGNATURE
    assert signature(SECRET.removeprefix("whsec_"), ID, THEN, BODY) == SIGNATURE


def test_what_was_signed_is_taken_whatever_other_signatures_are_beside() -> None:
    headers = signed_headers(SECRET, ID, THEN, BODY)
    assert verify(SECRET, headers, BODY, THEN + 299) == ID
    rotated = headers | {"webhook-signature": f"v1,AAAA v1a,zzz {SIGNATURE}"}
    assert verify(SECRET, rotated, BODY, THEN) == ID


@pytest.mark.parametrize(
    ("changed", "body", "now"),
    [
        ({}, BODY + b" ", THEN),
        ({}, BODY, THEN + 301),
        ({}, BODY, THEN - 301),
        ({"webhook-id": "msg_other"}, BODY, THEN),
        ({"webhook-id": ""}, BODY, THEN),
        ({"webhook-timestamp": str(THEN + 1)}, BODY, THEN),
        ({"webhook-timestamp": "soon"}, BODY, THEN),
        ({"webhook-timestamp": "-1"}, BODY, 0),
        ({"webhook-timestamp": "1" * 5000}, BODY, THEN),
        ({"webhook-signature": "v1,"}, BODY, THEN),
        ({"webhook-signature": SIGNATURE.removeprefix("v1,")}, BODY, THEN),
        ({"webhook-signature": "v2" + SIGNATURE.removeprefix("v1")}, BODY, THEN),
        ({"webhook-signature": "v1,ñ"}, BODY, THEN),
    ],
)
def test_what_was_forged_changed_or_kept_for_later_is_refused(changed: dict[str, str], body: bytes, now: float) -> None:
    with pytest.raises(WebhookRefused):
        verify(SECRET, signed_headers(SECRET, ID, THEN, BODY) | changed, body, now)


def test_anothers_secret_signs_nothing_for_us() -> None:
    ours, theirs = derived_secret("key", "owner:ana"), derived_secret("key", "owner:eva")
    assert ours != theirs and ours == derived_secret("key", "owner:ana")
    with pytest.raises(WebhookRefused):
        verify(ours, signed_headers(theirs, ID, THEN, BODY), BODY, THEN)


def test_a_secret_that_is_none_is_said_to_be_none() -> None:
    with pytest.raises(ValueError, match="whsec_"):
        signature("whsec_not base64!", ID, THEN, BODY)
