"""`ponder think` and `ponder chat`."""

import io
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ponder.cli import models
from ponder.engine.scripted import ScriptedSampler, Step
from ponder.model.checkpoint import CONFIG_FILE, PONDER_FILE, WEIGHTS_FILE
from ponder.tasks import same_of
from ponder.text.effort import Plan
from ponder.types import Block, Effort, Rating


class Stdin(io.TextIOWrapper):
    def __init__(self, raw: bytes) -> None:
        super().__init__(io.BytesIO(raw), encoding="utf-8")


@pytest.fixture
def piped(monkeypatch):
    return lambda raw: monkeypatch.setattr(sys, "stdin", Stdin(raw))


def one_sentence(outcome) -> str:
    """The error of a command that must have failed for its user's fault, with nothing on stdout."""
    assert outcome.code == 2
    assert outcome.out == ""
    assert "Traceback" not in outcome.err
    assert outcome.err.count("\n") == 1
    return outcome.err.strip()


def test_answer_on_stdout_and_folded_blocks_on_stderr(run, scripted):
    outcome = run("think", "what is 2+2?")
    assert (outcome.code, outcome.out) == (0, "4\n")
    assert "▸ add the ones  4\n▸ check  4 ok\n" in outcome.err
    assert "nothing to carry" not in outcome.err
    assert "2 blocks" in outcome.err and "effort medium" in outcome.err


def test_thoughts_are_shown_when_asked_for(run, scripted):
    assert "  2+2=4 nothing to carry\n  = 4\n" in run("think", "what is 2+2?", "--show-thoughts").err


def test_json_is_one_document_without_thoughts_unless_asked_for(run, scripted):
    plain = run("think", "what is 2+2?", "--json", "--seed", "3", "--effort", "high")
    told = json.loads(plain.out)
    assert (told["answer"], told["ended"], told["effort"], told["seed"]) == ("4", "answered", "high", 3)
    assert told["blocks"][0] == {"headline": "add the ones", "summary": "4"}
    assert set(told["tokens"]) == {"prompt", "thinking", "answer"}
    assert plain.err == ""
    shown = json.loads(run("think", "what is 2+2?", "--json", "--show-thoughts").out)
    assert shown["blocks"][0]["thoughts"] == "2+2=4 nothing to carry"


def tossed(prefix, rng):
    """A coin, then its side; a head that likes high numbers."""
    if prefix.answering or prefix.blocks:
        return Step(prefix.blocks[0].summary if prefix.blocks else "?", before=Rating(0.5, 0.5))
    number = rng.randrange(10)
    return Step(Block("toss <b>", "secret", str(number)), Rating(number / 10, 0.5), Rating(0.5, 0.5))


@pytest.mark.parametrize("name", ["majority", "best_of_n", "beam", "dvts", "mcts", "adaptive"])
def test_a_search_shows_what_it_kept_and_writes_its_tree(run, scripted, tmp_path, name):
    scripted["toss"] = tossed
    page, data = tmp_path / "tree.html", tmp_path / "tree.json"
    asked = ["think", "toss", "--search", name, "--samples", "9", "--temperature", "1", "--seed", "4"]
    outcome = run(*asked, "--tree", str(page))
    assert outcome.code == 0 and outcome.err.count("▸ toss <b>  ") == 1 and " discarded, effort medium" in outcome.err
    assert outcome.out.strip() == outcome.err.split("▸ toss <b>  ")[1][0]
    assert "toss &lt;b&gt;" in page.read_text() and "secret" not in page.read_text()
    told = json.loads(run(*asked, "--tree", str(data), "--json").out)
    assert set(told["tokens"]) == {"prompt", "thinking", "answer", "discarded", "cached"} and told["search"] == name
    tree = json.loads(data.read_text())
    assert (tree["search"], tree["answer"], tree["tokens"]["discarded"]) == (
        name,
        told["answer"],
        told["tokens"]["discarded"],
    )
    assert sum(node["kept"] for node in tree["nodes"]) == 2 and "secret" not in data.read_text()
    run(*asked, "--tree", str(data), "--show-thoughts")
    assert "secret" in data.read_text()
    assert {path.name for path in tmp_path.iterdir()} == {"tree.html", "tree.json"}


def test_one_chain_has_a_tree_too(run, scripted, tmp_path):
    file = tmp_path / "tree.json"
    assert run("think", "what is 2+2?", "--tree", str(file)).out == "4\n"
    assert [node["kept"] for node in json.loads(file.read_text())["nodes"]] == [True] * 3
    assert run("think", "what is 2+2?", "--search", "direct").err.startswith("0 blocks")


def test_an_effort_means_what_the_models_own_plan_says(run, scripted, monkeypatch):
    scripted["toss"] = tossed
    plan = Plan(search="majority", samples=5, temperature=1.0)
    model = replace(models.load(), plans={Effort.HIGH: plan})
    monkeypatch.setattr(models, "load", lambda *_, **__: model)
    told = json.loads(run("think", "toss", "--effort", "high", "--json").out)
    assert (told["search"], told["temperature"]) == ("majority", 1.0) and told["tokens"]["discarded"] > 0
    told = json.loads(run("think", "toss", "--effort", "low", "--json").out)
    assert (told["search"], told["temperature"]) == ("single", 0.0) and "discarded" not in told["tokens"]
    told = json.loads(run("think", "toss", "--effort", "high", "--search", "single", "--json").out)
    assert told["search"] == "single"
    assert "give --temperature" in one_sentence(run("think", "toss", "--effort", "high", "--temperature", "0"))


def test_auto_takes_the_effort_that_the_model_expects_to_do(run, scripted, monkeypatch, piped):
    class Rater:
        async def rate(self, prefixes):
            return [Rating(0.9 if "easy" in one.messages[-1].content else 0.1, 1.0) for one in prefixes]

    assert "train one with `ponder train reward`" in one_sentence(run("think", "easy?", "--effort", "auto"))
    headed = replace(models.load(), rater=Rater())
    monkeypatch.setattr(models, "load", lambda *_, **__: headed)
    assert "benchmarks.effort" in one_sentence(run("think", "easy?", "--effort", "auto"))
    routed = replace(headed, auto={Effort.LOW: 0.5, Effort.HIGH: 0.0})
    monkeypatch.setattr(models, "load", lambda *_, **__: routed)
    assert json.loads(run("think", "easy?", "--effort", "auto", "--json").out)["effort"] == "low"
    assert json.loads(run("think", "quite hard", "--effort", "auto", "--json").out)["effort"] == "high"
    piped(b"hard\neasy\n/effort medium\neasy\n")
    told = json.loads(run("chat", "--effort", "auto", "--json").out)
    assert [one["effort"] for one in told] == ["high", "low", "medium"]


def test_a_real_head_chooses_and_wrong_plans_are_named(run, micro_checkpoint, tmp_path):
    from ponder.model.checkpoint import load_checkpoint, save_checkpoint, write_config
    from ponder.model.heads import new_head

    folder, made = tmp_path / "headed", load_checkpoint(micro_checkpoint)
    save_checkpoint(replace(made, head=new_head(made.network.shape.hidden_size)), folder)
    for limit, expected in ((0.5, "none"), (0.51, "minimal")):
        table = {Effort.NONE: limit, Effort.MINIMAL: 0.0}
        write_config(folder, made.config.model_copy(update={"auto": table}))
        told = json.loads(run("think", "what is 2+2?", "--model", str(folder), "--effort", "auto", "--json").out)
        assert told["effort"] == expected
    wrong = {Effort.LOW: Plan(search="beam", samples=6, width=4)}
    write_config(folder, made.config.model_copy(update={"efforts": wrong}))
    assert "ponder.json, effort low: samples=6" in one_sentence(run("think", "what?", "--model", str(folder)))


def test_effort_none_does_not_think(run, scripted):
    assert run("think", "q", "--effort", "none").err.startswith("0 blocks, 0 thinking + 1 answer tokens")


def test_an_unfinished_answer_is_exit_code_1(run, scripted):
    outcome = run("think", "cut")
    assert (outcome.code, outcome.out.strip("9\n")) == (1, "")
    assert "no finished answer" in outcome.err
    assert json.loads(run("think", "cut", "--json").out)["ended"] == "cut_off"


def test_the_prompt_may_come_from_stdin(run, scripted, piped):
    piped(b"was ist 2+2?\n")
    assert run("think", "-").out == "4\n"


@pytest.mark.parametrize(
    ("raw", "part"),
    [
        (b"", "is empty"),
        (b" \n\t", "is empty"),
        (b"ab\xff", "not UTF-8 (byte 0xff at 2)"),
        (b"a" * 1_000_001, "longer"),
    ],
)
def test_bad_stdin(run, scripted, piped, raw, part):
    piped(raw)
    assert part in one_sentence(run("think", "-"))


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["think", ""], "the prompt is empty"),
        (["think", "  "], "the prompt is empty"),
        (["think", "\udcff"], "the prompt is not UTF-8"),
        (["think", "q", "--effort", "huge"], "unknown effort 'huge': the efforts are none, minimal"),
        (["think", "q", "--search", "bream"], "unknown search 'bream': the searches are direct, single"),
        (["think", "q", "--search", "majority"], "16 samples at temperature 0 are 16 times the same"),
        (["think", "q", "--search", "single", "--samples", "2"], "single draws one sample, not 2"),
        (
            ["think", "q", "--search", "beam", "--samples", "6", "--width", "4"],
            "samples=6 is not a multiple of width=4",
        ),
        (["think", "q", "--search", "beam", "--samples", "0"], "--samples"),
        (["think", "q", "--search", "beam", "--samples", "2", "--temperature", "1"], "`ponder train reward`"),
        (["think", "q", "--tree", "tree.svg"], "name it tree.html or tree.json"),
        (["think", "q", "--tree", "/no/such/tree.html"], "/no/such must be a directory"),
        (["think", "q", "--temperature", "-1"], "temperature -1.0 does not fit"),
        (["think", "q", "--temperature", "nan"], "temperature nan does not fit"),
        (["think", "q", "--top-p", "0"], "top-p 0.0 does not fit"),
        (["think", "q", "--seed", "x"], "--seed"),
        (["think"], "see --help"),
        (["think", "q", "--nonsense"], "--nonsense"),
        (["nonsense"], "No such command 'nonsense'"),
        (["chat", "--effort", "huge"], "unknown effort 'huge'"),
    ],
)
def test_bad_arguments(run, scripted, arguments, part):
    assert part in one_sentence(run(*arguments))


def test_no_model_anywhere(run, monkeypatch, tmp_path):
    monkeypatch.delenv(models.VARIABLE, raising=False)
    monkeypatch.setattr(models, "embedded_folder", lambda: tmp_path / "none")
    assert "give --model DIR" in one_sentence(run("think", "q"))


def test_the_model_is_the_option_else_the_variable_else_the_embedded(monkeypatch, tmp_path):
    monkeypatch.setattr(models, "embedded_folder", lambda: tmp_path)
    monkeypatch.delenv(models.VARIABLE, raising=False)
    assert models.find_model(None) == tmp_path
    monkeypatch.setenv(models.VARIABLE, "/from/variable")
    assert models.find_model(None) == Path("/from/variable")
    assert models.find_model(Path("/from/option")) == Path("/from/option")


def test_a_direct_model_refuses_to_think():
    direct = models.Model(None, "baseline", "direct")  # pyright: ignore[reportArgumentType]
    assert direct.effort(None) is Effort.NONE
    with pytest.raises(models.ConfigError, match="use --effort none"):
        direct.effort("low")


def damage(folder: Path, file: str, how: str) -> None:
    path = folder / file
    match how:
        case "missing":
            path.unlink()
        case "empty":
            path.write_bytes(b"")
        case "truncated":
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        case "noise":
            path.write_bytes(b"\xff\x00" + path.read_bytes()[2:])
        case "null":
            path.write_text("null")
        case _:
            path.write_text("{}")


@pytest.mark.parametrize("how", ["missing", "empty", "truncated", "noise", "null", "object"])
@pytest.mark.parametrize("file", [WEIGHTS_FILE, CONFIG_FILE, PONDER_FILE, "tokenizer.json"])
def test_a_damaged_checkpoint_is_one_sentence_naming_it(run, micro_checkpoint, tmp_path, file, how):
    folder = tmp_path / "model"
    shutil.copytree(micro_checkpoint, folder)
    damage(folder, file, how)
    said = one_sentence(run("think", "q", "--model", str(folder), "--device", "cpu"))
    assert str(folder) in said


def test_no_such_model_and_an_over_long_prompt(run, micro_checkpoint):
    assert "no model directory '/no/such'" in one_sentence(run("think", "q", "--model", "/no/such"))
    long = "7" * 5000
    assert "shorten the prompt" in one_sentence(run("think", long, "--model", str(micro_checkpoint)))
    assert "unknown device 'tpu'" in one_sentence(
        run("think", "q", "--model", str(micro_checkpoint), "--device", "tpu")
    )


@pytest.mark.parametrize("effort", ["none", "max"])
def test_a_real_checkpoint_thinks_and_a_seed_repeats_it(run, micro_checkpoint, effort):
    arguments = ["think", "What is 12 * 34?", "--model", str(micro_checkpoint), "--effort", effort, "--json"]
    arguments += ["--temperature", "1", "--seed", "4"]
    first, again = (json.loads(run(*arguments).out) for _ in range(2))
    assert first["answer"] == again["answer"] and first["tokens"] == again["tokens"]
    assert first["tokens"]["answer"] > 0


def test_chat_answers_line_by_line_and_obeys_commands(run, scripted, piped):
    piped(b"what is 2+2?\n\n/effort none\nand now?\n/help\n/new\n/quit\nnever asked\n")
    outcome = run("chat")
    assert (outcome.code, outcome.out) == (0, "4\n4\n")
    assert "effort none" in outcome.err and "/quit leaves" in outcome.err


def test_chat_as_json(run, scripted, piped):
    piped(b"one\n/effort none\ntwo\n")
    first, second = json.loads(run("chat", "--json").out)
    assert (first["prompt"], first["answer"], first["effort"]) == ("one", "4", "medium")
    assert (second["prompt"], second["effort"], second["blocks"]) == ("two", "none", [])
    piped(b"")
    assert json.loads(run("chat", "--json").out) == []


def test_chat_keeps_the_conversation_without_its_thoughts(run, monkeypatch, scripted, piped):
    seen = []
    sampler = models.load(None).sampler
    extend = type(sampler).extend
    monkeypatch.setattr(type(sampler), "extend", lambda self, p, *a: seen.append(p.messages) or extend(self, p, *a))
    piped(b"one\ntwo\n")
    run("chat")
    assert [(m.role, m.content) for m in seen[-1]] == [("user", "one"), ("assistant", "4"), ("user", "two")]


@pytest.mark.parametrize(
    ("raw", "part"), [(b"\xff\n", "line 1 is not UTF-8"), (b"/fly\n", "unknown command '/fly'"), (b"/effort x", "'x'")]
)
def test_bad_chat(run, scripted, piped, raw, part):
    piped(raw)
    assert part in one_sentence(run("chat"))


def test_a_vote_is_over_answers_that_are_one_to_what_the_model_was_taught(run, monkeypatch):
    spelled = ("1+2+3", "3+2+1", "2+1+3", "4*3", "4*3")
    sampler = ScriptedSampler({"6?": lambda prefix, rng: Step(rng.choice(spelled))})
    asked = ["think", "6?", "--effort", "none", "--search", "majority", "--samples", "64", "--temperature", "1"]
    for same, answers in ((str.strip, {"4*3"}), (same_of(["countdown:2"]), set(spelled[:3]))):
        monkeypatch.setattr(models, "load", lambda *_, same=same, **__: models.Model(sampler, "scripted", same=same))
        assert run(*asked).out.strip() in answers
