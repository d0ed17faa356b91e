"""The remote sampler: against a scripted server, one that writes anything, and one that we did not write."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.peers.client import python_of
from ponder.cli import main
from ponder.engine.endpoint import Endpoint, Kind
from ponder.engine.remote import RemoteSampler
from ponder.errors import SamplerError
from ponder.interfaces import Extension, Limit, Prefix, Sampling
from ponder.text import format
from ponder.text.effort import Budget
from ponder.text.format import BLOCKS, Mark, opening, render_context, text_of
from ponder.think import Request, think
from ponder.types import Block, Effort, Ended, Message, Tokens

if TYPE_CHECKING:
    from tests.engine.conftest import Reply, Stub

ASKED = (Message("user", "what is 2+3"),)
STEPS = (Block("count", "2 and 3", "5"), Block("check", "5-3=2", "ok"), Block("again", "5-2=3", "sure"))
END, ANSWER = BLOCKS.marker[Mark.END].text, BLOCKS.marker[Mark.ANSWER].text
SCRIPT = [text_of(format.render_block(block)) for block in STEPS]
PLENTY = Limit(1000, 100)

Play = Callable[[str], str]
"""What a model writes after a prompt, to its very end."""


def remote(stub: Stub, **settings: Any) -> RemoteSampler:
    return RemoteSampler(replace(Endpoint(url=stub.url, model="m", backoff=0.001, timeout=10.0), **settings))


def extend(sampler: RemoteSampler, prefix: Prefix, limit: Limit = PLENTY, *samplings: Sampling) -> list[Extension]:
    return asyncio.run(sampler.extend(prefix, limit, samplings or (Sampling(),)))


def completions(
    reply: type[Reply], play: Play, *, strips: bool = True, stops: bool = True
) -> Callable[[dict[str, Any]], Any]:
    """A completions server: a character a token, which leaves out the stop text or does not, or does not stop."""

    def answer(body: dict[str, Any]) -> Any:
        text = play(body["prompt"])
        ends = [(text.find(stop), stop) for stop in body["stop"] if stop in text] if stops else []
        ended, cost = "stop", len(text)
        if ends:
            at, stop = min(ends)
            text, cost = text[: at if strips else at + len(stop)], at + len(stop)
        if cost > body["max_tokens"]:
            text, ended, cost = text[: body["max_tokens"]], "length", body["max_tokens"]
        usage = {"prompt_tokens": len(body["prompt"]), "completion_tokens": cost, "total_tokens": 0}
        return reply({"object": "x", "choices": [{"text": text, "finish_reason": ended, "index": 0}], "usage": usage})

    return answer


def model(prompt: str) -> str:
    """Thinks the script, then answers; it sees one folded block, as the window of these tests has it."""
    if prompt.endswith(ANSWER):
        return f"5{END}"
    done = next((i + 1 for i, block in enumerate(STEPS) if block.headline in prompt), 0)
    return "".join(SCRIPT[done:]) + f"{ANSWER}5{END}"


# Completions, blocks


@pytest.mark.parametrize(("strips", "stops"), [(True, True), (False, True), (True, False)])
def test_a_chain_thinks_in_folded_blocks(stub: Stub, reply: type[Reply], strips: bool, stops: bool) -> None:
    stub.reply = completions(reply, model, strips=strips, stops=stops)
    (found,) = think([Request(ASKED)], remote(stub))
    assert (found.blocks, found.answer, found.ended) == (STEPS, "5", Ended.ANSWERED)
    seen = [(blocks, False) for blocks in ((), *(STEPS[:i] for i in (1, 2, 3)))] + [(STEPS, True)]
    contexts = [text_of(render_context(ASKED, Effort.MEDIUM, blocks, 1, answering=last)) for blocks, last in seen]
    assert [body["prompt"] for body in stub.asked] == contexts
    if stops:
        assert found.tokens == Tokens(len(contexts[0]), sum(map(len, SCRIPT)) + len(ANSWER), 1 + len(END))


def test_a_block_that_must_come_is_begun_for_the_model(stub: Stub, reply: type[Reply]) -> None:
    def thinks(prompt: str) -> str:
        assert prompt.endswith(text_of(opening(think_on=True)))
        return SCRIPT[2].removeprefix(text_of(opening(think_on=True)))

    stub.reply = completions(reply, thinks)
    (found,) = extend(remote(stub, fold_window=None), Prefix(ASKED, Effort.LOW, STEPS[:2], think_on=True))
    assert (found.block, found.answer) == (STEPS[2], None)


def test_a_paragraph_that_must_come_begins_with_wait(stub: Stub, reply: type[Reply]) -> None:
    stub.reply = completions(reply, lambda prompt: ", is that so?\n\nmore" if prompt.endswith("Wait") else "")
    tags = remote(stub, dialect="think_tags")
    (found,) = extend(tags, Prefix(ASKED, Effort.LOW, (Block("", "2+2=5", ""),), think_on=True))
    assert found.block == Block("", "Wait, is that so?", "")


def test_a_chat_server_cannot_be_held_from_answering(stub: Stub, reply: type[Reply]) -> None:
    with pytest.raises(SamplerError, match="cannot be held from answering"):
        extend(chat(stub), Prefix(ASKED, Effort.LOW, think_on=True))
    assert stub.asked == []


def test_all_folds_stay_where_the_window_has_no_end(stub: Stub, reply: type[Reply]) -> None:
    stub.reply = completions(reply, model)
    extend(remote(stub, fold_window=None), Prefix(ASKED, Effort.LOW, STEPS))
    assert stub.asked[0]["prompt"] == text_of(render_context(ASKED, Effort.LOW, STEPS, None))


def test_each_sampling_is_a_request_with_its_own_seed(stub: Stub, reply: type[Reply]) -> None:
    stub.reply = completions(reply, model)
    samplings = [Sampling(0.7, 0.9, seed) for seed in (3, 2**31 + 4, 2**62 + 5)]
    found = extend(remote(stub), Prefix(ASKED, Effort.LOW), PLENTY, *samplings)
    assert [extension.block for extension in found] == [STEPS[0]] * 3
    assert sorted(body["seed"] for body in stub.asked) == [3, 4, 5]
    assert {(body["temperature"], body["top_p"], body["max_tokens"]) for body in stub.asked} == {(0.7, 0.9, 1000)}
    assert not {"top_k", "min_p", "n", "logprobs"} & set(stub.asked[0])


def test_unusual_samplings_are_sent_where_they_are_wanted(stub: Stub, reply: type[Reply]) -> None:
    stub.reply = lambda body: completions(reply, model)(body | {"max_tokens": body["most"]})
    extend(remote(stub, limit_field="most"), Prefix(ASKED, Effort.LOW), PLENTY, Sampling(1.0, top_k=5, min_p=0.1))
    assert (stub.asked[0]["top_k"], stub.asked[0]["min_p"], stub.asked[0]["most"]) == (5, 0.1, 1000)


@pytest.mark.parametrize("thinking", [8, len(SCRIPT[0]) - 1, len(SCRIPT[0]), len(SCRIPT[0]) + len(SCRIPT[1]) + 9])
def test_a_thought_that_is_cut_off_still_answers(stub: Stub, reply: type[Reply], thinking: int) -> None:
    stub.reply = completions(reply, model)
    (found,) = think([Request(ASKED, budget=Budget(thinking, answer=50))], remote(stub))
    assert (found.answer, found.ended) == ("5", Ended.ANSWERED)
    assert found.tokens.thinking <= thinking and found.tokens.answer == 1 + len(END)
    assert found.blocks == STEPS[: 2 if thinking > 70 else 1 if thinking >= len(SCRIPT[0]) else 0]


def test_an_answer_that_is_cut_off_says_so(stub: Stub, reply: type[Reply]) -> None:
    stub.reply = completions(reply, lambda _: f"12345{END}")
    (found,) = extend(remote(stub), Prefix(ASKED, Effort.NONE, answering=True), Limit(0, 3))
    assert (found.answer, found.ended, found.spent) == (
        "123",
        Ended.CUT_OFF,
        Tokens(len(stub.asked[0]["prompt"]), 0, 3),
    )


@pytest.mark.parametrize("strips", [True, False])
def test_stop_texts_end_the_answer_and_never_a_thought(stub: Stub, reply: type[Reply], strips: bool) -> None:
    stub.reply = completions(reply, lambda prompt: model(prompt).replace(f"5{END}", f"5 and 6{END}"), strips=strips)
    limit = replace(PLENTY, stop=(" and", "2"))
    (block,) = extend(remote(stub), Prefix(ASKED, Effort.LOW), limit)
    assert block.block == STEPS[0] and " and" not in stub.asked[0]["stop"]
    (found,) = extend(remote(stub), Prefix(ASKED, Effort.LOW, answering=True), limit)
    assert (found.answer, found.ended) == ("5", Ended.ANSWERED)
    with pytest.raises(SamplerError, match="empty stop text"):
        extend(remote(stub), Prefix(ASKED, Effort.LOW, answering=True), replace(PLENTY, stop=("",)))


def test_a_server_that_drops_markers_is_not_taken_for_a_bad_thinker(stub: Stub, reply: type[Reply]) -> None:
    stub.reply = completions(reply, lambda _: "count2 and 35")
    with pytest.raises(SamplerError, match="without a block's markers: if its model thinks in blocks.*special"):
        extend(remote(stub), Prefix(ASKED, Effort.LOW))


@pytest.mark.parametrize("text", ["2 and 3<|summary|>", "<|block|>a<|end_block|>", "<|block|><|block|>"])
def test_malformed_text_is_no_block_and_not_the_end(stub: Stub, reply: type[Reply], text: str) -> None:
    stub.reply = completions(reply, lambda prompt: model(prompt) if prompt.endswith(ANSWER) else text)
    (found,) = extend(remote(stub), Prefix(ASKED, Effort.LOW))
    assert (found.block, found.answer, found.ended, found.last) == (None, None, Ended.MALFORMED, False)
    assert think([Request(ASKED)], remote(stub))[0].answer == "5"


@pytest.mark.parametrize("dialect", ["blocks", "think_tags"])
def test_a_prompt_that_spells_a_marker_is_not_sent(stub: Stub, reply: type[Reply], dialect: str) -> None:
    sampler = remote(stub, dialect=dialect)
    for text in {"blocks": (ANSWER, "a<|user|>"), "think_tags": ("<think>", "<|im_end|>\n<|im_start|>system")}[dialect]:
        with pytest.raises(SamplerError, match="the prompt spells"):
            extend(sampler, Prefix((Message("user", text),), Effort.LOW))
    assert stub.asked == []


@pytest.mark.parametrize(("told", "wanted"), [([-0.5, -1], (-0.5, -1.0)), ([None, -1.0], ())])
def test_log_probabilities_come_without_ids(
    stub: Stub, reply: type[Reply], told: list[float | None], wanted: tuple[float, ...]
) -> None:
    choice = {"text": f"5{END}", "finish_reason": "stop", "logprobs": {"token_logprobs": told}}
    stub.replies(reply({"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}))
    (found,) = extend(remote(stub, logprobs=True), Prefix(ASKED, Effort.LOW, answering=True))
    assert (found.segment.logprobs, found.segment.generated) == (wanted, ())
    assert stub.asked[0]["logprobs"] == 1


def test_log_probabilities_that_were_asked_for_are_not_silently_missing(stub: Stub, reply: type[Reply]) -> None:
    stub.reply = completions(reply, model)
    with pytest.raises(SamplerError, match="sent no log-probabilities, though it was asked: do without"):
        extend(remote(stub, logprobs=True), Prefix(ASKED, Effort.LOW, answering=True))


def test_tokens_are_the_servers_or_it_is_an_error(stub: Stub, reply: type[Reply]) -> None:
    stub.replies(reply({"choices": [{"text": "5", "finish_reason": "stop"}]}))
    with pytest.raises(SamplerError, match=r"\(usage: Field required\).*usage by which tokens are counted"):
        think([Request(ASKED)], remote(stub))
    stub.replies(reply({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}))
    with pytest.raises(SamplerError, match=r"\(choices: List should have at least 1 item"):
        think([Request(ASKED)], remote(stub))


def test_one_failed_sample_fails_the_call(stub: Stub, reply: type[Reply]) -> None:
    play = completions(reply, model)
    stub.reply = lambda body: reply(status=400) if body["seed"] == 1 else play(body)
    with pytest.raises(SamplerError, match="replied 400"):
        extend(remote(stub), Prefix(ASKED, Effort.LOW), PLENTY, Sampling(seed=0), Sampling(seed=1), Sampling(seed=2))


def test_many_chains_share_the_limit(stub: Stub, reply: type[Reply]) -> None:
    stub.reply = completions(reply, model)
    found = think([Request(ASKED, seed=i) for i in range(20)], remote(stub, concurrency=2))
    assert [completion.blocks for completion in found] == [STEPS] * 20
    assert stub.busiest <= 2


# Completions, think tags


def test_paragraphs_are_blocks(stub: Stub, reply: type[Reply]) -> None:
    def qwen(prompt: str) -> str:
        whole = "Two and\nthree.\n\nThat is 5.\n</think>\n\nIt is 5.\n\nReally.<|im_end|>"
        assert prompt.startswith("<|im_start|>user\nwhat is 2+3<|im_end|>\n<|im_start|>assistant\n<think>\n")
        if "</think>" in prompt:
            return whole.split("</think>\n\n")[1]
        return whole.split("three.\n\n")[1] if "three" in prompt else whole

    for strips in (True, False):
        stub.asked.clear()
        stub.reply = completions(reply, qwen, strips=strips)
        (found,) = think([Request(ASKED)], remote(stub, dialect="think_tags"))
        thoughts = [block.thoughts for block in found.blocks]
        assert (thoughts, found.answer) == (["Two and\nthree.", "That is 5."], "It is 5.\n\nReally.")
        assert [body["stop"] for body in stub.asked] == [["\n\n"], ["\n\n"], ["<|im_end|>"]]
        assert stub.asked[2]["prompt"].endswith("<think>\nTwo and\nthree.\n\nThat is 5.\n\n</think>\n\n")


@pytest.mark.parametrize("text", ["", "\n</think>", "</think>\n\nIt is 5."])
def test_a_thought_may_end_without_a_paragraph(stub: Stub, reply: type[Reply], text: str) -> None:
    stub.reply = completions(reply, lambda prompt: "5" if "</think>" in prompt else text)
    (found,) = extend(remote(stub, dialect="think_tags"), Prefix(ASKED, Effort.LOW))
    assert (found.block, found.answer, found.ended, found.last) == (None, None, None, True)
    (done,) = think([Request(ASKED)], remote(stub, dialect="think_tags"))
    assert (done.blocks, done.answer, done.ended) == ((), "5", Ended.ANSWERED)


# Chat


def turn(reply: type[Reply], message: dict[str, Any], ended: str = "stop", **details: int) -> Any:
    usage = {"prompt_tokens": 9, "completion_tokens": 101, "completion_tokens_details": details or None}
    return reply({"choices": [{"message": message, "finish_reason": ended}], "usage": usage})


def chat(stub: Stub, **settings: Any) -> RemoteSampler:
    return remote(stub, kind=Kind.CHAT, dialect="think_tags", **settings)


TOLD = {"reasoning_content": "One.\n\nTwo two.\n\n\n\nThree.", "content": "It is 5.\n\nYes."}


@pytest.mark.parametrize(
    "message",
    [
        TOLD,
        {"reasoning": TOLD["reasoning_content"], "content": TOLD["content"]},
        {"content": f"<think>\n{TOLD['reasoning_content']}\n</think>\n\n{TOLD['content']}"},
        {"content": f"{TOLD['reasoning_content']}\n</think>\n\n{TOLD['content']}", "role": "assistant"},
    ],
)
def test_a_chat_completion_is_fetched_once_and_handed_out(
    stub: Stub, reply: type[Reply], message: dict[str, Any]
) -> None:
    stub.reply = lambda _: turn(reply, message)
    request = Request((*ASKED, Message("assistant", "<think>x</think>5"), Message("user", "sure?")), Effort.HIGH)
    (found,) = think([request], chat(stub))
    assert [block.thoughts for block in found.blocks] == ["One.", "Two two.", "Three."]
    assert (found.answer, found.ended) == ("It is 5.\n\nYes.", Ended.ANSWERED)
    assert found.tokens.prompt == 9 and found.tokens.thinking + found.tokens.answer == 101
    assert 50 < found.tokens.thinking < 70
    (body,) = stub.asked
    assert stub.paths == ["/v1/chat/completions"]
    assert body["messages"][1:] == [{"role": "assistant", "content": "5"}, {"role": "user", "content": "sure?"}]
    assert (body["reasoning_effort"], body["max_tokens"]) == ("high", 2048 + 192)


def test_the_servers_own_count_of_thinking_is_kept(stub: Stub, reply: type[Reply]) -> None:
    stub.reply = lambda _: turn(reply, TOLD, reasoning_tokens=90)
    assert think([Request(ASKED)], chat(stub))[0].tokens == Tokens(9, 90, 11)
    stub.reply = lambda _: turn(reply, {"content": "5"}, reasoning_tokens=90)  # a thought that is not sent
    (found,) = think([Request(ASKED)], chat(stub))
    assert (found.blocks, found.answer, found.tokens) == ((), "5", Tokens(9, 90, 11))


def test_no_effort_asks_for_an_answer_alone(stub: Stub, reply: type[Reply]) -> None:
    stub.reply = lambda _: turn(reply, {"content": "5"})
    (found,) = think([Request(ASKED, Effort.NONE)], chat(stub))
    assert (found.answer, found.tokens) == ("5", Tokens(9, 0, 101))
    assert (stub.asked[0]["reasoning_effort"], stub.asked[0]["max_tokens"]) == ("none", 192)


@pytest.mark.parametrize("message", [{"content": None, "reasoning": "One.\n\nTwo"}, {"content": "<think>One.\n\nTwo"}])
def test_a_chat_thought_that_was_cut_off_has_no_answer(stub: Stub, reply: type[Reply], message: dict[str, Any]) -> None:
    stub.reply = lambda _: turn(reply, message, "length")
    (found,) = think([Request(ASKED)], chat(stub))
    assert (found.answer, found.ended, found.tokens) == ("", Ended.CUT_OFF, Tokens(9, 101, 0))
    assert [block.thoughts for block in found.blocks] == ["One."] and len(stub.asked) == 1


def test_chains_that_begin_alike_keep_their_own_ends(stub: Stub, reply: type[Reply]) -> None:
    stub.reply = lambda body: turn(reply, {"reasoning": f"Same.\n\nThen {body['seed']}.", "content": str(body["seed"])})
    found = think([Request(ASKED, temperature=1.0, seed=seed) for seed in range(6)], chat(stub))
    assert len(stub.asked) == 6 and len({completion.answer for completion in found}) == 6
    for completion in found:
        assert completion.blocks[1].thoughts == f"Then {completion.answer}."
        assert completion.tokens.thinking + completion.tokens.answer == 101


def test_a_depth_that_ends_a_chat_thought_still_has_its_answer_and_its_cost(stub: Stub, reply: type[Reply]) -> None:
    stub.reply = lambda _: turn(reply, TOLD, reasoning_tokens=90)
    (found,) = think([Request(ASKED, budget=Budget(1000, depth=1))], chat(stub))
    assert (len(found.blocks), found.answer, found.tokens) == (1, "It is 5.\n\nYes.", Tokens(9, 90, 11))


def test_a_given_thought_is_refused(stub: Stub) -> None:
    with pytest.raises(SamplerError, match="cannot go on from a given thought"):
        extend(chat(stub), Prefix(ASKED, Effort.LOW, (Block("", "One.", ""),)))
    assert stub.asked == []


# Whatever a server writes


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from([*BLOCKS.marks, "<think>", "</think>", "\n\n", "a", " "]), max_size=10).map("".join),
    st.sampled_from(["stop", "length", None, "content_filter"]),
    st.sampled_from([("completions", "blocks"), ("completions", "think_tags"), ("chat", "think_tags")]),
)
def test_anything_written_ends_in_a_completion_or_a_sentence(
    stub: Stub, reply: type[Reply], text: str, ended: str, how: Any
) -> None:
    choice = {"text": text, "message": {"content": text}, "finish_reason": ended}
    stub.replies(reply({"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 40}}))
    sampler = remote(stub, kind=Kind(how[0]), dialect=how[1])
    try:
        (found,) = think([Request(ASKED, Effort.LOW)], sampler)
    except SamplerError as err:
        assert "without a block's markers" in str(err)
    else:
        assert found.tokens.thinking + found.tokens.answer >= 40
        assert found.ended is not Ended.ANSWERED or ended == "stop" or END in text or "<|im_end|>" in text


# The command line


def test_the_command_line_thinks_upstream(
    stub: Stub, reply: type[Reply], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", "sk-123")
    stub.reply = completions(reply, model)
    server = ["--upstream", stub.url, "--upstream-model", "m", "--upstream-key-env", "SOME_KEY"]
    assert main(["think", "what is 2+3", *server]) == 0
    said = capsys.readouterr()
    assert said.out == "5\n" and "▸ count  5\n▸ check  ok\n▸ again  sure\n3 blocks" in said.err
    assert stub.headers[0]["Authorization"] == "Bearer sk-123"
    assert main(["eval", "--task", "multiplication:1", "--n", "2", *server, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["model"] == "m"
    stub.reply = lambda _: turn(reply, TOLD)
    assert main(["think", "what is 2+3", *server, "--upstream-dialect", "think_tags"]) == 0
    said = capsys.readouterr()
    assert said.out == "It is 5.\n\nYes.\n" and said.err.startswith("3 blocks")


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--upstream", "http://127.0.0.1:9"], "--upstream-model NAME: give both"),
        (["--upstream-key-env", "X"], "--upstream-model NAME: give both"),
        (["--upstream-window", "2"], "--upstream-model NAME: give both"),
        (["--upstream", "http://h", "--upstream-model", "m", "--model", "."], "give one of them"),
        (["--upstream", "http://h", "--upstream-model", "m", "--upstream-key-env", "UNSET_"], "UNSET_ is empty"),
        (["--upstream", "http://h", "--upstream-model", "m", "--upstream-dialect", "x"], "unknown dialect 'x'"),
        (["--upstream", "nowhere", "--upstream-model", "m"], "is no server's URL"),
    ],
)
def test_bad_upstreams_are_one_sentence(capsys: pytest.CaptureFixture[str], options: list[str], part: str) -> None:
    assert main(["think", "q", *options]) == 2
    said = capsys.readouterr().err
    assert part in said and said.count("\n") == 1


# A server that we did not write: `transformers serve`, from the environment of the benchmarks' peers:
#   python -m benchmarks.peers.setup transformers && pytest -m slow tests/engine/test_remote.py
# PONDER_SERVE_PYTHON names another python that has transformers[serving].

SERVE_PYTHON = os.environ.get("PONDER_SERVE_PYTHON", str(python_of("transformers")))
MINI = Path(__file__).parents[2] / "models" / "ponder-mini"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The URL of ponder-mini on `transformers serve`, and its folder.

    That server always leaves special tokens out of its text, so in this copy the markers of blocks are not special; and
    it draws only where the model's own settings say so.
    """
    needs = "import accelerate, fastapi, openai, uvicorn"
    if not Path(SERVE_PYTHON).exists() or subprocess.run([SERVE_PYTHON, "-c", needs], capture_output=True).returncode:
        pytest.skip(f"{SERVE_PYTHON} lacks transformers[serving]: run `python -m benchmarks.peers.setup transformers`")
    folder = tmp_path_factory.mktemp("served") / "mini"
    shutil.copytree(MINI, folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    for token in tokenizer["added_tokens"]:
        token["special"] = token["special"] and (token["content"] not in BLOCKS.marks or token["content"] == END)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    config = json.loads((folder / "config.json").read_text())
    ends = {name: config[name] for name in ("eos_token_id", "pad_token_id")}
    (folder / "generation_config.json").write_text(json.dumps({"do_sample": True, **ends}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [SERVE_PYTHON, "-m", "transformers.cli.transformers", "serve", str(folder), "--device", "cpu"]
    server = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{url}/health", server)
        yield url, folder
    finally:
        server.terminate()
        server.wait(timeout=30)


def wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            assert server.poll() is None, "transformers serve ended at once"
            time.sleep(0.2)
    raise AssertionError("transformers serve did not come up")


QUESTIONS = [(Message("user", f"What is {a} × {b}?"),) for a, b in ((347, 28), (61, 902), (555, 44))]


@pytest.mark.slow
def test_ponder_mini_on_a_server_of_others_thinks_as_it_does_here(
    served: tuple[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    from ponder.engine.local import LocalSampler
    from ponder.model.checkpoint import load_checkpoint

    url, folder = served
    requests = [Request(question) for question in QUESTIONS]
    here = think(requests, LocalSampler(load_checkpoint(MINI)))
    there = think(requests, RemoteSampler(Endpoint(url=url, model=str(folder))))
    for one, other in zip(here, there, strict=True):
        assert (one.blocks, one.answer, one.ended) == (other.blocks, other.answer, other.ended)
        assert one.tokens.prompt == other.tokens.prompt
        total, told = one.tokens.thinking + one.tokens.answer, other.tokens.thinking + other.tokens.answer
        assert total == told
    assert any(one.blocks for one in here) and all(one.answer for one in here)
    assert main(["think", QUESTIONS[0][0].content, "--upstream", url, "--upstream-model", str(folder)]) == 0
    assert capsys.readouterr().out == f"{here[0].answer}\n"


@pytest.mark.slow
def test_a_server_of_others_samples_by_its_seed(served: tuple[str, Path]) -> None:
    url, folder = served
    sampler = RemoteSampler(Endpoint(url=url, model=str(folder), concurrency=1))  # it has one generator for all

    def drawn(seed: int) -> tuple[Any, ...]:
        (found,) = extend(sampler, Prefix(QUESTIONS[0], Effort.MEDIUM), PLENTY, Sampling(1.3, 0.95, seed))
        assert found.spent and found.spent.thinking > 3 and found.spent.prompt > 3
        return found.block, found.answer, found.spent

    assert drawn(1) == drawn(1)
    assert len({drawn(seed) for seed in range(4)}) > 1


@pytest.mark.slow
def test_a_server_of_others_is_reached_over_chat(served: tuple[str, Path]) -> None:
    url, folder = served
    sampler = RemoteSampler(Endpoint(url=url, model=str(folder), kind=Kind.CHAT, dialect="think_tags"))
    here = think([Request(QUESTIONS[0])], RemoteSampler(Endpoint(url=url, model=str(folder))))[0]
    (found,) = think([Request(QUESTIONS[0])], sampler)
    # A conversation cannot fold: blocks come as the text that they are, one behind the other.
    assert found.ended in (Ended.ANSWERED, Ended.CUT_OFF) and here.blocks[0].headline in found.answer
    assert found.tokens.prompt == here.tokens.prompt and found.tokens.answer > here.tokens.answer


@pytest.mark.slow
def test_log_probabilities_that_a_server_of_others_does_not_have_are_an_error(served: tuple[str, Path]) -> None:
    url, folder = served
    with pytest.raises(SamplerError, match="sent no log-probabilities"):
        think([Request(ASKED)], RemoteSampler(Endpoint(url=url, model=str(folder), logprobs=True)))


@pytest.mark.slow
def test_a_server_of_others_refuses_in_a_sentence(served: tuple[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    url, folder = served
    assert main(["think", "q", "--upstream", url, "--upstream-model", "other"]) == 2
    assert "replied 400 (Server is pinned to" in capsys.readouterr().err
    strict = RemoteSampler(Endpoint(url=url, model=str(folder), extra={"skip_special_tokens": False}))
    with pytest.raises(SamplerError, match="replied 422.*skip_special_tokens"):
        think([Request(ASKED)], strict)
