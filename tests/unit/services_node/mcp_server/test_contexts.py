"""The team's documents: which files are some, which a prompt needs, and that no id leads out of the folder."""

from __future__ import annotations

import logging
import os
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from services_node.mcp_server.contexts import CURRENT_DATE, ContextLibrary, parsed
from services_node.mcp_server.parts import DOCUMENTS

NOW = datetime(2026, 11, 27, 23, 30, tzinfo=UTC)


def document(id_: str = "rivers", text: str = "El Ebro.", **head: str) -> str:
    lines = {"id": id_, "name": "Ríos", "description": "Sobre ríos.", "keywords_es": "ríos, Ebro"} | head
    return "---\n" + "".join(f"{name}: {value}\n" for name, value in lines.items()) + f"---\n{text}\n"


def library(folder: Path) -> ContextLibrary:
    return ContextLibrary(folder, most_bytes=1000, zone=ZoneInfo("Europe/Madrid"), now=lambda: NOW)


def test_documents_are_listed_and_read_and_the_date_is_worked_out(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(document(), encoding="utf-8")
    known = library(tmp_path)
    assert [(one.id, one.name) for one in known.list()] == [
        ("rivers", "Ríos"), (CURRENT_DATE, "Current date · Fecha actual"),
    ]  # fmt: skip
    assert known.read("rivers") == "El Ebro."
    assert known.read(CURRENT_DATE) == (
        "Today is Saturday, 28 November 2026, 00:30.\nHoy es sábado, 28 de noviembre de 2026, 00:30."
    )


@pytest.mark.parametrize("name", ["../rivers", "/etc/passwd", "a.md", "rivers\x00", "", "RIVERS", "..", "a/b"])
def test_an_id_is_never_a_path(tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.md").write_text(document(), encoding="utf-8")
    (tmp_path / "rivers").write_text("secret", encoding="utf-8")
    with pytest.raises(KeyError):
        library(tmp_path / "in").read(name)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("no head", "does not begin with a head"),
        (document().replace("id: rivers\n", ""), "no id"),
        (document("../etc"), "id is not made of"),
        (document("current_date"), "is taken"),
        (document(text=""), "no text"),
        (document(text="x" * 2000), "at most 1000"),
        ("---\nid rivers\n---\nx", "without a colon"),
        (b"---\nid: \xff\n---\nx", "decode"),
    ],
)
def test_a_file_that_is_no_document_is_told_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str | bytes, reason: str
) -> None:
    (tmp_path / "bad.md").write_bytes(text if isinstance(text, bytes) else text.encode())
    (tmp_path / "good.md").write_text(document("good"), encoding="utf-8")
    known = library(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert [one.id for one in known.list()] == ["good", CURRENT_DATE]
    assert [record.file for record in caplog.records] == ["bad.md"] and reason in caplog.records[0].reason
    known.list()
    assert len(caplog.records) == 1, "told once, not at every look"


def test_links_out_of_the_folder_and_ids_taken_twice_are_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (tmp_path / "outside.md").write_text(document("outside"), encoding="utf-8")
    (folder / "link.md").symlink_to(tmp_path / "outside.md")
    (folder / "a.md").write_text(document(text="first"), encoding="utf-8")
    (folder / "b.md").write_text(document(text="second"), encoding="utf-8")
    known = library(folder)
    assert [one.id for one in known.list()] == ["rivers", CURRENT_DATE] and known.read("rivers") == "first"


def test_what_changes_on_disk_is_noticed(tmp_path: Path) -> None:
    path, known = tmp_path / "a.md", library(tmp_path)
    assert [one.id for one in known.list()] == [CURRENT_DATE]
    path.write_text(document(text="uno"), encoding="utf-8")
    assert known.read("rivers") == "uno"
    path.write_text(document(text="dos"), encoding="utf-8")
    os.utime(path, (1, 1))
    assert known.read("rivers") == "dos"
    path.unlink()
    with pytest.raises(KeyError):
        known.read("rivers")


def test_a_folder_that_is_not_there_has_only_the_date(tmp_path: Path) -> None:
    assert [one.id for one in library(tmp_path / "missing").list()] == [CURRENT_DATE]


@pytest.mark.parametrize(
    ("prompt", "chosen"),
    [
        ("¿Quién eres?", ["company_info"]),
        ("Who made you?", ["company_info"]),
        ("What is Capibara6?", ["company_info"]),
        ("¿Qué modelos tienes y en qué puerto?", ["technical_specs"]),
        ("Which models do you run?", ["technical_specs"]),
        ("¿Qué día es hoy?", [CURRENT_DATE]),
        ("what day is it today", [CURRENT_DATE]),
        ("hola, ¿qué tal?", []),
        ("Cuéntame un chiste sobre gatos", []),
        ("What is the capital of France?", []),
        ("Explain photosynthesis in two sentences", []),
        ("", []),
    ],
)
def test_a_prompt_is_given_the_documents_it_needs(prompt: str, chosen: list[str]) -> None:
    assert library_of_the_product().choose(prompt) == chosen


def library_of_the_product() -> ContextLibrary:
    return ContextLibrary(DOCUMENTS, most_bytes=64 * 2**10, now=lambda: NOW)


def test_the_products_own_documents_are_well() -> None:
    for path in DOCUMENTS.glob("*.md"):
        assert parsed(path.read_text(encoding="utf-8")).id == path.stem
    assert {"company_info", "technical_specs", CURRENT_DATE} <= {one.id for one in library_of_the_product().list()}
