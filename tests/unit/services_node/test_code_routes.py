"""What code requests may say, and what browsers are told of files."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from db.records import FileRecord
from services_node.chat_api.code_schemas import CodeRunRequest, FileIn, OlderCodeRequest
from services_node.chat_api.files import file_name, headers_of


def record(name: str, media_type: str) -> FileRecord:
    return FileRecord(uuid.uuid4(), "ana", None, None, name, media_type, 1, "0", "p", datetime.now(UTC))


@pytest.mark.parametrize(
    ("said", "meant"), [("python", "python"), ("PY", "python"), ("js", "javascript"), ("sh", "bash"), (None, "python")]
)
def test_a_language_has_the_names_people_use(said: str | None, meant: str) -> None:
    assert OlderCodeRequest.model_validate({"code": "1", "language": said}).language == meant


def test_a_language_that_no_sandbox_has_is_refused() -> None:
    with pytest.raises(ValidationError):
        CodeRunRequest.model_validate({"code": "1", "language": "cobol"})


@pytest.mark.parametrize("name", ["", ".", "/a", "../a", "a/../../b", "a" * 300, "ñ" * 200, "a\x00b"])
def test_a_file_stays_below_the_home(name: str) -> None:
    with pytest.raises(ValidationError):
        FileIn.model_validate({"name": name, "content": ""})


@pytest.mark.parametrize(
    "sources", [{}, {"content": "a", "content_base64": "YQ=="}, {"content_base64": "not base64!"}, {"file_id": "1"}]
)
def test_a_file_has_one_source(sources: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        FileIn.model_validate({"name": "a", **sources})


def test_a_files_bytes_are_its_text_or_its_base64() -> None:
    assert FileIn.model_validate({"name": "a", "content": "ñ"}).data() == "ñ".encode()
    assert FileIn.model_validate({"name": "a", "content_base64": "AP8="}).data() == b"\x00\xff"


@pytest.mark.parametrize("media_type", ["text/html", "image/svg+xml", "application/xhtml+xml", "text/javascript"])
def test_what_a_browser_would_run_is_told_as_plain_bytes_to_save(media_type: str) -> None:
    told = headers_of(record("a.html", media_type))
    assert told["content-type"] == "application/octet-stream" and told["content-disposition"].startswith("attachment")
    assert told["x-content-type-options"] == "nosniff" and told["content-security-policy"].startswith("sandbox")


def test_an_image_without_scripts_is_shown() -> None:
    told = headers_of(record("a.png", "image/png"))
    assert told["content-type"] == "image/png" and told["content-disposition"].startswith("inline")


def test_a_name_cannot_add_headers_or_folders() -> None:
    told = headers_of(record('../x"\r\nset-cookie: a=b; ñ.csv', "text/csv"))["content-disposition"]
    assert "\r" not in told and "\n" not in told and told.count('"') == 2 and ".." not in told.split(";")[1]
    assert file_name("..\\..\\a.txt") == "a.txt" and file_name("/") == "file" and file_name("...") == "file"
