"""Labelled rows come out of every kind of file alike, and what is wrong is named by its line."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from gemma_guard import UsageError
from gemma_guard.evaluate.rows import Columns, Row, read
from gemma_guard.evaluate.surveying import mapped, survey

POLICIES = ("harassment", "hate_speech")
TEXTS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1
).filter(lambda text: text.strip())
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "text": TEXTS,
            "response": st.none() | TEXTS,
            "harmful": st.sampled_from([None, 0, 1]),
            "harassment": st.sampled_from([None, 0, 1]),
            "source": st.sampled_from(["forum", "mail"]),
        }
    ),
    min_size=1,
    max_size=8,
)


def write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_gzip(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_parquet(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    parquet.write_table(pa.Table.from_pylist(list(rows)), path)


WRITERS = {
    "rows.jsonl": write_lines,
    "rows.jsonl.gz": write_gzip,
    "rows.csv": write_csv,
    "rows.parquet": write_parquet,
}


def rows_of(path: Path, columns: Columns | None = None) -> list[Row]:
    return list(read([path], mapped(columns or Columns(), POLICIES)))


@pytest.mark.parametrize("name", WRITERS)
@given(rows=ROWS)
def test_what_is_written_in_any_format_is_what_is_read(
    name: str, rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("rows") / name
    WRITERS[name](path, rows)

    for number, (row, found) in enumerate(zip(rows, rows_of(path), strict=True)):
        assert (found.number, found.text, found.source) == (number, row["text"], row["source"])
        assert found.response == (row["response"] or None)
        assert found.labels == {k: row[k] for k in POLICIES if row.get(k) is not None}
        if row["harmful"] is not None:
            assert found.harmful == row["harmful"]


@pytest.mark.parametrize(
    ("labels", "harmful"),
    [
        ({"harassment": 1}, 1),
        ({"harassment": 0}, None),
        ({"harassment": 0, "hate_speech": 0}, 0),
        ({"harassment": 0, "hate_speech": 1}, 1),
        ({"harassment": 1, "harmful": 0}, 0),
        ({}, None),
    ],
)
def test_a_row_is_harmful_if_it_says_so_or_violates_a_policy(
    tmp_path: Path, labels: dict[str, int], harmful: int | None
) -> None:
    path = tmp_path / "rows.jsonl"
    write_lines(path, [{"text": "a", "labels": labels}])

    [row] = rows_of(path)
    assert row.harmful == harmful


def test_columns_may_have_other_names_and_lie_deeper(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_lines(path, [{"q": {"said": "a"}, "a": "b", "marks": {"rude": True}, "bad": "no"}])
    columns = Columns("q.said", "a", "bad", {"harassment": "marks.rude"})

    [row] = rows_of(path, columns)
    assert (row.text, row.response, row.labels, row.harmful) == ("a", "b", {"harassment": 1}, 0)


def test_blanks_around_the_names_of_columns_are_none_of_their_names(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text, harmful \na,1\n", encoding="utf-8")

    [row] = rows_of(path)
    assert (row.text, row.harmful) == ("a", 1)


def test_a_spreadsheet_with_a_byte_order_mark_and_semicolons_is_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes("text;harmful\r\nguten Tag, Welt;0\r\n".encode("utf-8-sig"))

    [row] = rows_of(path)
    assert (row.text, row.harmful) == ("guten Tag, Welt", 0)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"text": "a"}\n{"text": secret}\n', "line 2: not JSON"),
        ("a.jsonl", '{"text": "a"}\n["secret"]\n', "line 2: an object is needed"),
        ("a.jsonl", '\n\n{"harmful": 1}\n', "line 3: no text in a column 'text'"),
        ("a.jsonl", '{"text": 7}\n', "line 1: column 'text': text is needed, got int"),
        ("a.jsonl", '{"text": "a", "harmful": "secret"}\n', "line 1: column 'harmful': a label is"),
        ("a.jsonl", '{"text": "a", "harmful": 2}\n', "line 1: column 'harmful': a label is"),
        ("a.csv", "text,harmful\na,0\nb\n", "line 3: 1 cells for 2 columns"),
        ("a.csv", 'text,harmful\n"a\nb",0\n"c,1\n', "not CSV"),
        ("a.csv", 'text,harmful\n"a\nb",0\nc,secret\n', "line 4: column 'harmful'"),
        ("a.csv", "", "line 1: the names of the columns are needed"),
        ("a.csv", "text,harmful, text\na,0,b\n", "line 1: two columns have the same name: 'text'"),
        ("a.parquet", "secret", "not parquet"),
        ("a.doc", "secret", "unknown kind of file '.doc'"),
        ("a.jsonl.gz", "secret", "cannot be read"),
    ],
)
def test_what_is_wrong_is_told_with_file_and_line_and_without_text(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")

    with pytest.raises(UsageError) as raised:
        rows_of(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert message in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (Columns(), "columns there are: text, bad"),
        (Columns(labels={"harassment": "rude"}, harmful="bad"), "labelled in a column 'rude'"),
        (
            Columns(labels={"harassment": "harassment"}, harmful="bad"),
            "labelled in a column 'harassment'; columns there are: text, bad",
        ),
        (
            Columns(labels={"harasment": "bad"}),
            "no policy 'harasment' is judged here; there are: h",
        ),
        (
            Columns(harmful="bad", response="answer"),
            "--response: no row has anything in a column 'answer'",
        ),
        (
            Columns(harmful="bad", source="where"),
            "--source: no row has anything in a column 'where'",
        ),
        (
            Columns(labels={"harassment": "bad"}, harmful="badd"),
            "--harmful: no row has anything in a column 'badd'; columns there are: text, bad",
        ),
        (Columns("txt", harmful="bad"), "no text in a column 'txt'; columns there are: text, bad"),
    ],
)
def test_rows_without_the_labels_asked_for_are_refused_before_any_is_judged(
    tmp_path: Path, columns: Columns, message: str
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,bad\na,1\n", encoding="utf-8")

    with pytest.raises(UsageError, match=message):
        survey([path], columns, POLICIES)


def test_a_column_of_labels_that_is_empty_is_refused_even_where_a_policy_has_labels(
    tmp_path: Path,
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,bad,harassment\na,,1\n", encoding="utf-8")

    with pytest.raises(UsageError, match="--harmful: no row has anything in a column 'bad'"):
        survey([path], Columns(harmful="bad"), POLICIES)


def test_labels_that_no_policy_has_are_counted_so_that_somebody_can_be_told(
    tmp_path: Path,
) -> None:
    path = tmp_path / "rows.jsonl"
    labels = {"harassment": 0, "harasment": 1, "rude": 1, "harmful": 1}
    write_lines(path, [{"text": "a", "labels": labels}] * 3)
    known = survey([path], Columns(labels={"hate_speech": "rude"}), POLICIES)

    assert known.unread == {"harasment": 3}
    assert known.labelled["hate_speech", 1] == 3
