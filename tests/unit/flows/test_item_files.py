"""Items of a batch, read from files and written to them."""

from __future__ import annotations

import csv
import io
import json

import pytest

from db.batch_items import ItemRecord
from flows.chat_asked import Asked, read_asked, written_asked
from flows.item_files import (
    Question,
    Unreadable,
    WrongLine,
    csv_head,
    csv_line,
    form_of,
    json_line,
    read_items,
    wrong_words,
)


def lines(text: str, form: str = "jsonl") -> list[Question | WrongLine]:
    return list(read_items(text.encode(), form, longest_chars=100))  # type: ignore[arg-type]


def test_json_lines_are_items_with_their_line_numbers_and_empty_lines_are_none() -> None:
    first, second = lines('{"id": 7, "message": "hola", "max_tokens": 5, "temperature": 0.5}\n\n{"message": "y"}\n')
    assert first == Question(1, "7", ({"role": "user", "content": "hola"},), None, 5, 0.5)
    assert isinstance(second, Question) and second.number == 3 and second.name is None


def test_a_byte_order_mark_and_other_line_ends_are_read() -> None:
    assert [one.number for one in read_items(b'\xef\xbb\xbf{"message": "a"}\r\n{"message": "b"}', "jsonl",
                                             longest_chars=9)] == [1, 2]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[1]", "no JSON object"),
        ("{}", "no `message`"),
        ('{"message": ""}', "empty"),
        ('{"message": 5}', "no text"),
        ('{"message": "a\\u0000"}', "no text"),
        ('{"message": "\\ud800"}', "no text"),
        ('{"message": "%s"}' % ("x" * 101), "101 characters"),
        ('{"message": "a", "messages": []}', "both"),
        ('{"messages": []}', "1 to 200"),
        ('{"messages": [{"role": "user"}]}', "no text"),
        ('{"messages": [{"role": "tool", "content": "a"}]}', "`role`"),
        ('{"messages": [{"role": "assistant", "content": "a"}]}', "not the user's"),
        ('{"message": "a", "max_tokens": 0}', "max_tokens"),
        ('{"message": "a", "max_tokens": 1.5}', "max_tokens"),
        ('{"message": "a", "max_tokens": true}', "max_tokens"),
        ('{"message": "a", "temperature": "hot"}', "temperature"),
        ('{"message": "a", "temperature": NaN}', "temperature"),
        ('{"message": "a", "temperature": 3}', "temperature"),
        ('{"message": "a", "model": 5}', "model"),
        ('{"message": "a", "id": {}}', "`id`"),
    ],
)
def test_a_wrong_line_is_named_with_its_reason_and_the_others_are_read(line: str, why: str) -> None:
    good, wrong, also_good = lines(f'{{"message": "a"}}\n{line}\n{{"message": "b"}}')
    assert isinstance(wrong, WrongLine) and wrong.number == 2 and why in wrong.reason
    assert isinstance(good, Question) and isinstance(also_good, Question)


def test_columns_of_a_csv_are_fields_and_a_cell_may_hold_lines() -> None:
    text = 'ID,Message,max_tokens,temperature,other\n1,"hola,\nqué tal",5,,x\n\n2,adiós,,0.1,\n'
    first, second = lines(text, "csv")
    assert first == Question(2, "1", ({"role": "user", "content": "hola,\nqué tal"},), None, 5, None)
    assert isinstance(second, Question) and (second.number, second.name, second.temperature) == (5, "2", 0.1)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_csv_is_separated_as_its_first_line_is(separator: str) -> None:
    (one,) = lines(f"id{separator}message\na{separator}hola", "csv")
    assert isinstance(one, Question) and one.name == "a" and one.messages[0]["content"] == "hola"


def test_messages_stand_in_a_cell_as_json_and_wrong_rows_are_named() -> None:
    said = json.dumps([{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]).replace('"', '""')
    one, two, three = lines(f'id,messages\na,"{said}"\nb,no\nc,x,y\n', "csv")
    assert isinstance(one, Question) and len(one.messages) == 2
    assert isinstance(two, WrongLine) and "no JSON" in two.reason
    assert isinstance(three, WrongLine) and three.reason == "has 3 cells, and the first line 2"


def test_a_quote_that_is_never_closed_is_named_and_not_asked_with_all_that_follows() -> None:
    good, wrong = lines('message\nhola\n"adiós\nuno\ndos\n', "csv")
    assert isinstance(good, Question) and isinstance(wrong, WrongLine) and wrong.number == 3
    assert "unexpected end of data" in wrong.reason


def test_a_sign_that_ends_a_line_elsewhere_does_not_within_json() -> None:
    (one,) = lines('{"message": "a\u2028b\u0085c"}')
    assert isinstance(one, Question) and one.messages[0]["content"] == "a\u2028b\u0085c"


def test_a_file_that_is_no_text_or_has_no_message_column_cannot_be_read() -> None:
    with pytest.raises(Unreadable, match="byte 0"):
        list(read_items(b"\xff", "jsonl", longest_chars=9))
    with pytest.raises(Unreadable, match="name, age"):
        lines("name,age\na,1", "csv")
    assert lines("", "csv") == lines("\n\n", "jsonl") == []


def test_the_form_is_told_by_the_name_else_by_what_stands_in_it() -> None:
    assert form_of("a.CSV", b"{") == "csv" and form_of("a.ndjson", b"x") == "jsonl"
    assert form_of("a.txt", b'\xef\xbb\xbf {"a"') == "jsonl" and form_of("a", b"id,message") == "csv"


def test_what_was_asked_is_read_as_it_was_written() -> None:
    asked = Asked("á.csv", "csv", (Question(2, "a", ({"role": "user", "content": "ñ"},)), WrongLine(3, "no", "b")))
    assert read_asked(written_asked(asked)) == asked and list(asked.questions) == [2] and len(asked.wrong) == 1


def test_results_are_json_lines_and_rows_that_no_spreadsheet_runs() -> None:
    item = ItemRecord(2, "a", "completed", "=1+1", "m", "r", 1, 2, 3.5, 1)
    told = json.loads(json_line(item))
    assert told["response"] == "=1+1" and told["error"] is None and told["line"] == 2
    failed = ItemRecord(3, None, "failed", None, error_code="wrong_line", error_detail="-no")
    read = list(csv.DictReader(io.StringIO((csv_head() + csv_line(item) + csv_line(failed)).decode())))
    assert [row["response"] for row in read] == ["'=1+1", ""] and read[1]["error_detail"] == "'-no"
    assert json.loads(json_line(failed))["error"] == {"code": "wrong_line", "detail": "-no"}


def test_wrong_lines_are_told_in_few_words() -> None:
    wrong = [WrongLine(number, "is wrong") for number in range(1, 6)]
    assert wrong_words(wrong) == "line 1 is wrong; line 2 is wrong; line 3 is wrong; and 2 more"
