"""A batch's items as files: JSON Lines or CSV in, each line read or named; the same two out. Pure.

A line is an object (or a row whose columns are its fields): `message` or `messages`, and `id`, `model`, `max_tokens`,
`temperature` where it has them. What cannot be read is an item of its own, with its line's number and the reason.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal

from db.batch_items import ItemRecord

Form = Literal["jsonl", "csv"]
FIELDS = ("id", "message", "messages", "model", "max_tokens", "temperature")
ROLES = ("system", "user", "assistant")
LONGEST_ID = 200
LONGEST_MODEL = 200
MOST_MESSAGES = 200
MOST_TEMPERATURE = 2.0
MOST_TOKENS = 1_000_000
SEPARATORS = ",;\t"
RESULT_COLUMNS = (
    "line", "id", "status", "response", "model", "route", "prompt_tokens", "completion_tokens", "latency_ms",
    "attempts", "error_code", "error_detail",
)  # fmt: skip
# A spreadsheet takes these for a formula's beginning.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Question:
    """An item that can be asked. number: its line, or its place among items that came without a file. messages:
    OpenAI's. model, max_tokens, temperature: its own; None where the batch's count."""

    number: int
    name: str | None
    messages: tuple[Mapping[str, str], ...]
    model: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None


@dataclass(frozen=True, slots=True)
class WrongLine:
    """A line that is no item, and why."""

    number: int
    reason: str
    name: str | None = None


Line = Question | WrongLine


class Unreadable(Exception):
    """The file as a whole cannot be read; its words say why."""


class _Wrong(Exception):
    pass


def form_of(name: str, data: bytes) -> Form:
    """By the name's ending; else by what stands in it."""
    ending = PurePath(name).suffix.lower()
    if ending in {".jsonl", ".ndjson", ".json"}:
        return "jsonl"
    if ending in {".csv", ".tsv"}:
        return "csv"
    return "jsonl" if data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") else "csv"


def read_items(data: bytes, form: Form, *, longest_chars: int) -> Iterator[Line]:
    """The file's items and wrong lines, in order; empty lines are none. Raises Unreadable: not UTF-8, or a CSV without
    a column that can be asked.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(f"It is not UTF-8 (byte {error.start}).") from None
    return _json_lines(text, longest_chars) if form == "jsonl" else _rows(text, longest_chars)


def item_of(fields: Mapping[str, Any], number: int, *, longest_chars: int) -> Line:
    """One object as an item, or what is wrong with it."""
    name: str | None = None
    try:
        name = _name(fields.get("id"))
        return Question(
            number,
            name,
            _messages(fields, longest_chars),
            _model(fields.get("model")),
            _whole(fields.get("max_tokens")),
            _temperature(fields.get("temperature")),
        )
    except _Wrong as wrong:
        return WrongLine(number, str(wrong), name)


def _json_lines(text: str, longest_chars: int) -> Iterator[Line]:
    # Not `splitlines`: other signs that end a line may stand inside a string of JSON.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deep"
            yield WrongLine(number, f"is no JSON: {reason}")
            continue
        if isinstance(fields, dict):
            yield item_of(fields, number, longest_chars=longest_chars)
        else:
            yield WrongLine(number, "is no JSON object")


def _rows(text: str, longest_chars: int) -> Iterator[Line]:
    """Rows of a CSV with a head line; comma, semicolon or tab, whichever the head has."""
    csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))
    head = text.lstrip("\r\n").partition("\n")[0]
    separator = max(SEPARATORS, key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    columns: list[str] | None = None
    before = 0
    while True:
        number = before + 1  # of the row's first line
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            before = max(reader.line_num, number)
            yield WrongLine(number, f"is no row of a CSV: {error}")
            continue
        before = reader.line_num
        if not any(cell.strip() for cell in row):
            continue
        if columns is None:
            columns = [cell.strip().lower() for cell in row]
            if not {"message", "messages"} & set(columns):
                raise Unreadable(f"Its first line has no column `message`, but {', '.join(columns)[:200]}.")
            continue
        if len(row) > len(columns):
            yield WrongLine(number, f"has {len(row)} cells, and the first line {len(columns)}")
            continue
        fields = {column: cell for column, cell in zip(columns, row, strict=False) if cell.strip()}
        yield _row_item(fields, number, longest_chars)


def _row_item(fields: dict[str, Any], number: int, longest_chars: int) -> Line:
    """`messages` of a row is JSON in a cell."""
    if "messages" in fields:
        try:
            fields["messages"] = json.loads(fields["messages"])
        except (ValueError, RecursionError):
            return WrongLine(number, "`messages` is no JSON")
    return item_of(fields, number, longest_chars=longest_chars)


def _name(value: Any) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _Wrong("`id` is neither text nor a number")
    name = str(value).strip()
    if len(name) > LONGEST_ID or not name.isprintable():
        raise _Wrong(f"`id` is not one line of at most {LONGEST_ID} characters")
    return name


def _messages(fields: Mapping[str, Any], longest_chars: int) -> tuple[Mapping[str, str], ...]:
    message, messages = fields.get("message"), fields.get("messages")
    if message is not None and messages is not None:
        raise _Wrong("has both `message` and `messages`")
    if messages is None:
        if message is None:
            raise _Wrong("has no `message`")
        messages = [{"role": "user", "content": message}]
    if not isinstance(messages, list) or not messages or len(messages) > MOST_MESSAGES:
        raise _Wrong(f"`messages` is no list of 1 to {MOST_MESSAGES} messages")
    said = tuple(_message(one, longest_chars) for one in messages)
    if said[-1]["role"] != "user":
        raise _Wrong("the last message is not the user's")
    return said


def _message(one: Any, longest_chars: int) -> Mapping[str, str]:
    if not isinstance(one, Mapping) or one.get("role") not in ROLES:
        raise _Wrong(f"a message has no `role` of {', '.join(ROLES)}")
    content = one.get("content")
    if not isinstance(content, str) or not content.strip():
        raise _Wrong("the message is empty or no text")
    if len(content) > longest_chars:
        raise _Wrong(f"the message has {len(content)} characters, and at most {longest_chars} are asked")
    if "\x00" in content or any("\ud800" <= sign <= "\udfff" for sign in content):
        raise _Wrong("the message holds characters that are no text")
    return {"role": one["role"], "content": content}


def _model(value: Any) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > LONGEST_MODEL or not value.strip().isprintable():
        raise _Wrong("`model` is no model's name")
    return value.strip()


def _whole(value: Any) -> int | None:
    number = _number(value, "max_tokens")
    if number is None:
        return None
    if number != int(number) or not 1 <= number <= MOST_TOKENS:
        raise _Wrong("`max_tokens` is no whole number above 0")
    return int(number)


def _temperature(value: Any) -> float | None:
    number = _number(value, "temperature")
    if number is not None and not 0 <= number <= MOST_TEMPERATURE:
        raise _Wrong(f"`temperature` is not within 0 and {MOST_TEMPERATURE:g}")
    return number


def _number(value: Any, name: str) -> float | None:
    if value is None or value == "":
        return None
    try:
        number = float("nan" if isinstance(value, bool) else value)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if number != number or number in (float("inf"), float("-inf")):  # noqa: PLR0124 - not a number
        raise _Wrong(f"`{name}` is no number")
    return number


def result_told(item: ItemRecord) -> dict[str, Any]:
    """An item's outcome as a line of the results. error: null where it went well."""
    error = {"code": item.error_code, "detail": item.error_detail} if item.error_code else None
    return {
        "line": item.number,
        "id": item.name,
        "status": item.status,
        "response": item.content,
        "model": item.model,
        "route": item.route,
        "prompt_tokens": item.prompt_tokens,
        "completion_tokens": item.completion_tokens,
        "latency_ms": item.total_ms,
        "attempts": item.attempts,
        "error": error,
    }


def json_line(item: ItemRecord) -> bytes:
    return (json.dumps(result_told(item), ensure_ascii=False) + "\n").encode()


def csv_head() -> bytes:
    return csv_row(RESULT_COLUMNS)


def csv_line(item: ItemRecord) -> bytes:
    told = result_told(item)
    told |= {"error_code": item.error_code, "error_detail": item.error_detail}
    return csv_row([told[column] for column in RESULT_COLUMNS])


def csv_row(cells: Iterable[Any]) -> bytes:
    """A row that no spreadsheet runs: what models wrote may begin as a formula does."""
    written = io.StringIO(newline="")
    csv.writer(written).writerow([_cell(cell) for cell in cells])
    return written.getvalue().encode()


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def wrong_words(lines: Sequence[WrongLine], most: int = 3) -> str:
    """The first wrong lines, for people."""
    said = [f"line {line.number} {line.reason}" for line in lines[:most]]
    rest = len(lines) - most
    return "; ".join([*said, *([f"and {rest} more"] if rest > 0 else [])])
