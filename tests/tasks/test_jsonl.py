"""Users' problem files: what is accepted, and that every bad line is named with its number and reason."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ponder.errors import ProblemError
from ponder.tasks import TASKS
from ponder.tasks.jsonl import grade_open, read_problems
from ponder.tasks.letters import LETTERS

DATA = {"letter": "r", "text": "strawberry"}


@pytest.fixture(autouse=True)
def letters(monkeypatch):
    monkeypatch.setitem(TASKS, "letters", LETTERS)


def write(path, *lines):
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines))
    return path


@pytest.fixture
def file(tmp_path):
    return tmp_path / "mine.jsonl"


def test_a_known_task_needs_only_its_data(file):
    (problem,) = read_problems(write(file, {"task": "letters", "data": DATA}))
    assert problem.answer == "3" and problem.data == DATA
    assert "strawberry" in problem.prompt and problem.id
    assert [problem] == read_problems(file)
    assert LETTERS.grade(problem, "3").right


def test_prompt_answer_level_and_id_of_the_user_are_kept(file):
    line = {"task": "letters", "prompt": "r in strawberry?", "answer": "3", "data": DATA, "level": 2, "id": "mine"}
    (problem,) = read_problems(write(file, line))
    assert (problem.prompt, problem.answer, problem.level, problem.id) == ("r in strawberry?", "3", 2, "mine")


def test_open_problems_are_graded_by_exact_text(file):
    (problem,) = read_problems(write(file, {"task": "open", "prompt": "Capital of France?", "answer": "Paris"}))
    assert all(grade_open(problem, text).right for text in ("Paris", " Paris. ", "The answer is Paris"))
    for text in ("", "paris", "Paris or Rome", "x" * 10**6):
        grade = grade_open(problem, text)
        assert grade.score == 0.0 and grade.note


def test_blank_lines_line_ends_and_a_byte_order_mark_do_no_harm(file):
    line = json.dumps({"task": "open", "prompt": "é\u2028?", "answer": "x"}, ensure_ascii=False).encode()
    file.write_bytes(b"\xef\xbb\xbf" + line + b"\r\n\r\n  \n" + line + b"\n")
    assert [problem.prompt for problem in read_problems(file)] == ["é\u2028?", "é\u2028?"]


OPEN = {"task": "open", "prompt": "p", "answer": "a"}
BAD = [
    (b"{", "not JSON"),
    (b"nonsense", "not JSON"),
    (b"[1, 2]", "not an object but a list"),
    (b"true", "not an object but true or false"),
    (b"null", "not an object but null"),
    (b'{"task": "open"}', "prompt is missing"),
    (b'{"task": "open", "prompt": "p"}', "answer is missing"),
    (b'{"task": "open", "prompt": " ", "answer": "a"}', "prompt is missing or empty"),
    (b'{"prompt": "p"}', "task is missing"),
    (b'{"task": "chess", "prompt": "p"}', "unknown task 'chess': the tasks are .*letters.*open"),
    (b'{"task": 3}', "task must be a text, not a number"),
    (b'{"task": "open", "prompt": ["p"], "answer": "a"}', "prompt must be a text, not a list"),
    (b'{"task": "open", "prompt": "p", "answer": 4}', "answer must be a text, not a number"),
    (b'{"task": "open", "prompt": "p", "answer": "a", "level": true}', "level must be a whole number"),
    (b'{"task": "open", "prompt": "p", "answer": "a", "data": []}', "data must be an object, not a list"),
    (b'{"task": "open", "promt": "p"}', "unknown key 'promt'"),
    (b'{"task": "open", "task": "letters"}', "a key stands twice"),
    (b'{"task": "letters"}', "data is missing"),
    (b'{"task": "letters", "data": {"letter": "ab", "text": "x"}}', "letter must be one letter"),
    (b'{"task": "letters", "data": {"letter": "a", "text": "aa"}, "answer": "3"}', "answer '3' is not right"),
    (b'{"task": "letters", "data": {"letter": "a", "text": "aa"}, "prompt": ""}', "prompt is empty"),
    (b'{"task": "open", "prompt": "\xff", "answer": "a"}', "not UTF-8 at byte 29"),
    (b'{"task": "open", "prompt": "p\\u0000", "answer": "a"}', "NUL"),
    (b'{"task": "open", "prompt": "p\x00", "answer": "a"}', "not JSON"),
    (b'{"task": "open", "prompt": "\\ud800", "answer": "a"}', "surrogate"),
    (b'{"task": "open", "prompt": "p", "answer": "a", "level": NaN}', "NaN is not a number"),
    (b'{"task": "letters", "data": {"letter": "a", "text": "banana", "lang": "en"}}', "unknown keys .*lang"),
    (b'{"task": "open", "prompt": "p", "answer": "a", "level": ' + b"9" * 5000 + b"}", "not usable JSON"),
    (b"[" * 90_000, "nested deeper"),
    (b'{"task": "open", "data": {"a": ' + b"[" * 60 + b"]" * 60 + b"}}", "nested deeper"),
    (b'{"task": "' + b"x" * 200_000 + b'"}', "bytes long"),
]


@pytest.mark.parametrize(("line", "reason"), BAD, ids=range(len(BAD)))
def test_bad_lines_are_named(file, line, reason):
    with pytest.raises(ProblemError, match=rf"mine\.jsonl line 3: .*{reason}"):
        read_problems(write(file, OPEN, b"", line, OPEN))


def test_a_missing_directory_or_empty_file_is_named(tmp_path, file):
    with pytest.raises(ProblemError, match=r"nowhere\.jsonl cannot be read"):
        read_problems(tmp_path / "nowhere.jsonl")
    with pytest.raises(ProblemError, match="cannot be read"):
        read_problems(tmp_path)
    with pytest.raises(ProblemError, match="has no problems"):
        read_problems(write(file))


@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=60))
def test_any_bytes_give_problems_or_a_problem_error(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_bytes(content)
    with pytest.raises(ProblemError):
        read_problems(path)
