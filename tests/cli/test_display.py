"""The streaming display, on a terminal and elsewhere."""

import asyncio
import io
import re

from rich.console import Console

from ponder.cli.display import Display, Watched
from ponder.engine.scripted import ScriptedSampler
from ponder.interfaces import Extension, Limit, Prefix, Sampling
from ponder.text import format
from ponder.types import Block, Effort, Ended, Message, Segment

BLOCK = Block("add × things", "2+2=4", "it is 4")
PREFIX = Prefix((Message("user", "q"),), Effort.MEDIUM)


def console(terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=80, highlight=False, soft_wrap=True)


def printed(display: Display) -> str:
    assert isinstance(display.console.file, io.StringIO)
    return display.console.file.getvalue()


def play(display: Display, text: str, extension: Extension, answering: bool = False) -> str:
    display.begin(answering)
    for character in text:
        display.hear(0, character)
        display.hear(1, "<|block|>another row")
    display.end(extension)
    return printed(display)


def closed(block: Block) -> Extension:
    return Extension(block, None, None, Segment((), (), ()))


def test_elsewhere_only_the_folded_line_is_printed():
    text = format.text_of(format.render_block(BLOCK))
    assert play(Display(console(False)), text, closed(BLOCK)) == "▸ add × things  it is 4\n"


def test_a_terminal_shows_thoughts_live_then_the_folded_line():
    out = play(Display(console(True)), format.text_of(format.render_block(BLOCK)), closed(BLOCK))
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out)
    assert "▸ add × things  it is 4\n" in plain
    assert "another row" not in plain


def test_what_did_not_stream_is_shown_at_the_end():
    display = Display(console(False))
    sampler = Watched(ScriptedSampler({"q": format.render((BLOCK,), "4")}), display)
    (extension,) = asyncio.run(sampler.extend(PREFIX, Limit(100, 100), [Sampling()]))
    assert extension.block == BLOCK
    assert printed(display) == "▸ add × things  it is 4\n"


def test_an_answer_and_a_quiet_display_print_nothing():
    answer = Extension(None, "4", Ended.ANSWERED, Segment((), (), ()))
    assert play(Display(console(False)), "4<|end|>", answer, answering=True) == ""
    text = format.text_of(format.render_block(BLOCK))
    assert play(Display(console(False), quiet=True), text, closed(BLOCK)) == ""


def test_a_torn_block_is_told_in_one_short_line():
    torn = Extension(None, None, Ended.CUT_OFF, Segment((), (), ()))
    out = play(Display(console(False)), "<|block|>" + "h" * 500, torn)
    assert out == f"▸ {'h' * 60} … cut off\n"


def test_characters_that_steer_a_terminal_are_replaced():
    block = Block("a\x1b[2Jb", "", "\x07c")
    out = play(Display(console(False)), format.text_of(format.render_block(block)), closed(block))
    assert out == "▸ a�[2Jb  �c\n"


def test_a_sampler_that_fails_leaves_the_terminal_as_it_was():
    display = Display(console(True))
    try:
        asyncio.run(Watched(ScriptedSampler({}), display).extend(PREFIX, Limit(9, 9), [Sampling()]))
    except Exception as err:
        assert "no script" in str(err)
    assert "\x1b[?25h" in printed(display)  # the cursor is back
