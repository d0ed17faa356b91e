"""`ponder think` and `ponder eval` with a directory that is not Ponder's."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Make = Callable[..., Path]


def chain(*tokens: str) -> dict[str, str]:
    return dict(zip(tokens, tokens[1:], strict=False))


FOLLOWS = chain("\n", "a", "b", "</think>") | chain("\n\n", "4", "2", "<|im_end|>")


def test_it_thinks_and_answers(run, plain: Make) -> None:
    outcome = run("think", "what is 6*7?", "--model", str(plain(FOLLOWS)), "--show-thoughts")
    assert (outcome.code, outcome.out) == (0, "42\n")
    assert "▸ \n  ab\n" in outcome.err and "  = " not in outcome.err
    assert "1 block, 3 thinking + 3 answer tokens" in outcome.err


def test_thoughts_stay_hidden_and_json_is_one_document(run, plain: Make) -> None:
    outcome = run("think", "what is 6*7?", "--model", str(plain(FOLLOWS)), "--json", "--effort", "none")
    told = json.loads(outcome.out)
    assert (told["answer"], told["model"], told["blocks"], told["tokens"]["thinking"]) == ("42", "tiny", [], 0)
    assert outcome.err == ""


def test_the_slow_path_is_said_once_without_a_warning(run, plain: Make) -> None:
    outcome = run("think", "what is 6*7?", "--model", str(plain(FOLLOWS, kind="mistral")))
    assert (outcome.code, outcome.out) == (0, "42\n")
    assert outcome.err.count("runs by its own forward") == 1 and "arning" not in outcome.err
    assert "  ab" not in outcome.err


def test_a_chat_template_adds_no_words_of_its_own(run, plain: Make) -> None:
    template = "{% for one in messages %}{{ one.content }}<|im_end|>{% endfor %}<|im_start|>assistant\n<think>\n"
    folder = plain(FOLLOWS, template=template)
    config = {
        "eos_token": "<|endoftext|>",
        "tokenizer_class": "Qwen2Tokenizer",
        "auto_map": {"AutoTokenizer": ["o.O", None]},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    outcome = run("think", "what is 6*7?", "--model", str(folder), "--json")
    assert (outcome.code, json.loads(outcome.out)["answer"], outcome.err) == (0, "42", "")


def test_eval_counts_its_answers(run, plain: Make, tmp_path: Path) -> None:
    problems = tmp_path / "mine.jsonl"
    asked = {"what is 6*7?": "42", "what is 6*8?": "48"}
    lines = [json.dumps({"task": "open", "prompt": prompt, "answer": answer}) for prompt, answer in asked.items()]
    problems.write_text("\n".join(lines), encoding="utf-8")
    outcome = run("eval", "--problems", str(problems), "--model", str(plain(FOLLOWS)), "--json")
    assert outcome.code == 0
    (summary,) = json.loads(outcome.out)
    assert (summary["accuracy"], summary["n"], summary["tokens"]) == (0.5, 2, 6)


@pytest.mark.parametrize("kind", ["t5", "llama"])
def test_what_cannot_be_done_is_one_sentence(run, plain: Make, tmp_path: Path, kind: str) -> None:
    folder = plain(kind=kind, name="folder")
    command = ("think", "q") if kind == "t5" else ("train", "sft", "--out", str(tmp_path / "run"))
    outcome = run(*command, "--model", str(folder))
    assert (outcome.code, outcome.out) == (2, "") and outcome.err.count("\n") == 1
    assert {"t5": "t5 is an encoder with a decoder", "llama": "not be trained"}[kind] in outcome.err
