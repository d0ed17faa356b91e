"""Files of records: they grow by whole lines, survive a kill, and are left alone where they are something else."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder.errors import ProblemError
from ponder.evaluate.records import Record, open_ledger, read_record, read_records
from ponder.types import Ended, Tokens


def record(number: int = 0, **changes) -> Record:
    made = Record(
        model="m",
        weights="w",
        task="toy",
        level=1,
        effort="low",
        search="single",
        id=f"toy:1:test:{number}",
        prompt="frage? ≤\n",
        gold="7",
        answers=("7", ""),
        scores=(1.0, None),
        ended=(Ended.ANSWERED, Ended.CUT_OFF),
        tokens=(Tokens(3, 4, 5), Tokens(3, 9, 0, 2, 1)),
        values=(0.25, None),
        notes=("", "lost"),
        temperature=0.8,
        top_p=1.0,
        seed=3,
        thinking=320,
    )
    return replace(made, **changes)


@given(st.text(), st.floats(0, 1), st.integers(0, 10**9))
def test_a_line_is_the_record(text, score, tokens):
    one = record(prompt=text, answers=(text, ""), scores=(score, None), tokens=(Tokens(tokens), Tokens()))
    assert one.line().count("\n") == 1 and read_record(one.line()) == one


def test_older_records_without_model_and_weights_are_read():
    told = record().to_json()
    for name in ("model", "weights", "how", "values", "width", "thinking"):
        del told[name]
    assert read_record(json.dumps({"model": "m"} | told)).values == ()


def test_a_file_grows_by_whole_lines_and_holds_nothing_twice(tmp_path):
    ledger = open_ledger(tmp_path / "r.jsonl")
    ledger.add([record(0), record(1)])
    ledger.add([record(1), record(2)])
    assert [one.id[-1] for one in read_records(ledger.path)] == ["0", "1", "2"]
    again = open_ledger(ledger.path)
    assert list(again.records.values()) == [record(0), record(1), record(2)] and not again.dropped


@given(st.integers(1, 2_000))
def test_whatever_instant_it_is_killed_at_only_the_last_line_is_lost(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("killed") / "r.jsonl"
    lines = [record(number).line().encode() for number in range(3)]
    whole = b"".join(lines)
    path.write_bytes(whole[:-cut] if cut < len(whole) else whole[:1])
    left = path.read_bytes()
    ledger = open_ledger(path)
    complete = left.count(b"\n")
    assert list(ledger.records.values()) == [record(number) for number in range(complete)]
    assert ledger.dropped == (not left.endswith(b"\n")) and path.read_bytes() == b"".join(lines[:complete])
    ledger.add([record(number) for number in range(3)])
    assert path.read_bytes() == whole


def test_what_came_first_is_not_told_in_the_end(tmp_path):
    ledger = open_ledger(tmp_path / "r.jsonl")
    ledger.add([record(9, seed=8)])
    for number in (2, 0, 1):
        ledger.add([record(number)])
    ledger.settle([record(number) for number in range(3)])
    assert [one.id[-1] for one in read_records(ledger.path)] == ["9", "0", "1", "2"]
    assert list(tmp_path.iterdir()) == [ledger.path]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"prompt": "my only copy", "answer": "4"}', "1 is no record"),
        (b'{"prompt": "my only copy", "answer": "4"}\n', "1 is no record .*Field required"),
        (b"\xff\xfe\n", "not UTF-8"),
        (record().line().encode() + b"[]\n" + record(1).line().encode(), "2 is no record"),
        (record().line().encode() + b"notes", "2 is no record"),
    ],
)
def test_other_files_are_left_as_they_are(tmp_path, content, words):
    path = tmp_path / "mine"
    path.write_bytes(content)
    with pytest.raises(ProblemError, match=words):
        open_ledger(path)
    with pytest.raises(ProblemError, match="is no record"):
        read_records(path)
    assert path.read_bytes() == content


def test_reading_leaves_a_torn_line_where_it_is(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_bytes(record().line().encode() + record(1).line().encode()[:50])
    size = path.stat().st_size
    assert read_records(path) == [record()] and path.stat().st_size == size
    path.write_bytes(b"")
    with pytest.raises(ProblemError, match="holds no records"):
        read_records(path)
    with pytest.raises(ProblemError, match="cannot be read"):
        read_records(tmp_path / "none")
