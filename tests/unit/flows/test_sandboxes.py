"""Which endpoint the SDK is told, and what its errors mean."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from e2b import (
    AuthenticationException,
    FileNotFoundException,
    InvalidArgumentException,
    NotEnoughSpaceException,
    RateLimitException,
    SandboxException,
    SandboxNotFoundException,
    TimeoutException,
)
from e2b.exceptions import SandboxNotRunningException, ServiceBusyException
from e2b_code_interpreter import Result  # type: ignore[import-untyped]

from flows.sandboxes import connection, raw_result, told
from models_node.sandbox.errors import sandboxes_unavailable
from stack.settings import Settings
from wire.errors import ApiError


def test_without_e2bs_variables_our_gateway_is_the_endpoint(tmp_path: Path) -> None:
    options = connection({}, Settings(home=tmp_path, port_offset=100), None)
    assert options["api_url"] == options["sandbox_url"] == "http://127.0.0.1:8186" and options["api_key"]
    assert connection({}, Settings(home=tmp_path), "key")["api_key"] == "key"


@pytest.mark.parametrize("name", ["E2B_API_KEY", "E2B_API_URL", "E2B_SANDBOX_URL", "E2B_DOMAIN"])
def test_any_of_e2bs_variables_leaves_the_endpoint_to_them(tmp_path: Path, name: str) -> None:
    assert connection({name: "x"}, Settings(home=tmp_path), "key") == {"debug": False}
    assert "api_url" in connection({name: ""}, Settings(home=tmp_path), "key")


def test_debug_mode_is_never_on(tmp_path: Path) -> None:
    assert connection({"E2B_DEBUG": "true"}, Settings(home=tmp_path), None)["debug"] is False


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (SandboxNotRunningException("was not found"), 502, "sandbox_lost"),
        (SandboxNotFoundException("gone"), 502, "sandbox_lost"),
        (TimeoutException("The sandbox was killed while the request was in progress."), 502, "sandbox_lost"),
        (ServiceBusyException("full"), 503, "sandboxes_busy"),
        (RateLimitException("full"), 503, "sandboxes_busy"),
        (SandboxException("x", status_code=503), 503, "sandboxes_busy"),
        (AuthenticationException("no"), 502, "sandbox_refused"),
        (NotEnoughSpaceException("full"), 413, "sandbox_full"),
        (httpx.ConnectError("no"), 503, "sandbox_unreachable"),
        (ConnectionRefusedError(), 503, "sandbox_unreachable"),
        (SandboxException("odd"), 502, "sandbox_failed"),
        (InvalidArgumentException("'a/b': Not a directory"), 422, "file_refused"),
        (FileNotFoundException("gone"), 422, "file_refused"),
    ],
)
def test_each_error_of_the_sdk_has_a_meaning(error: Exception, status: int, code: str) -> None:
    with pytest.raises(ApiError) as told_as, told():
        raise error
    assert (told_as.value.status, told_as.value.code) == (status, code)


def test_a_gateway_whose_machine_makes_no_sandboxes_is_not_told_as_busy() -> None:
    words = sandboxes_unavailable("this machine lacks root").detail
    with pytest.raises(ApiError) as told_as, told():
        raise ServiceBusyException(f"503: Service temporarily unavailable, please retry. - {words}")
    assert told_as.value.code == "sandboxes_unavailable" and told_as.value.detail == words
    assert told_as.value.retry_after_seconds == 30


@pytest.mark.parametrize("png", ["abc", 5, ["x"], "ñ"])
def test_an_image_that_does_not_decode_is_left_out(png: object) -> None:
    raw = raw_result(Result(text="a", png=png, jpeg="YQ==", extra=[1]))
    assert raw.texts == {"text": "a"} and raw.binaries == {"jpeg": b"a"}
