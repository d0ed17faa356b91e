"""The page of a tree: whole, well formed, of one piece, and without anything that runs."""

from dataclasses import replace
from html import escape
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder.search import SEARCHES
from ponder.search.page import page
from ponder.types import Block, Completion, Effort, Ended, Message, Node, Rating, Tokens, Tree

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&</details><style>*{display:none}</style>"
VOID = ("meta", "input")


class Reader(HTMLParser):
    """What a browser would make of it."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return reader


def completion(node: Node, question: str = "why?") -> Completion:
    tree = Tree("beam", (Message("user", question),), Effort.LOW, (node, replace(node, id=1, parent=None)))
    return Completion((), node.answer or "", node.ended or Ended.ANSWERED, Tokens(1, 2, 3, 4, 5), tree=tree)


@pytest.mark.parametrize("name", SEARCHES)
def test_every_tree_is_a_whole_page(puzzle, name):
    found = puzzle.search(name, 6, 2, seed=3)
    text = page(found)
    reader = read(text)
    assert reader.tags.count("details") == len(found.tree.nodes)
    assert text.count('<details class="kept"') == sum(node.kept for node in found.tree.nodes)
    assert f"{found.tokens.discarded:,} tokens" in reader.text and found.answer in reader.text
    assert not {"script", "link", "img", "iframe"} & set(reader.tags)
    assert "http" not in text.replace('http-equiv="', "") and "url(" not in text and "@import" not in text
    assert "default-src 'none'" in text and "prefers-color-scheme: dark" in text


def test_thoughts_are_only_there_where_they_were_asked_for(puzzle):
    found = puzzle.search("beam", 4, 2)
    assert "drawn" not in page(found) and "drawn" in page(found, thoughts=True)
    assert "thoughts" not in str(found.tree.to_json()["nodes"]) and "drawn" in str(found.tree.to_json(thoughts=True))


@pytest.mark.parametrize("thoughts", [False, True])
def test_a_script_is_inert_wherever_it_stands(thoughts):
    rating = Rating(0.5, 0.5)
    for node in (
        Node(0, None, Block(EVIL, EVIL, EVIL), rating=rating, kept=True),
        Node(0, None, Block("", EVIL, ""), rating=rating),
        Node(0, None, answer=EVIL, ended=Ended.ANSWERED),
        Node(0, None, answer=EVIL, ended=Ended.MALFORMED),
        Node(0, None, lost=EVIL),
    ):
        reader = read(page(completion(node, EVIL), thoughts=thoughts))
        assert not {"script", "img"} & set(reader.tags)
        assert reader.tags.count("style") == 1 and reader.tags.count("details") == 2
        assert not any(name.startswith("on") for name, _ in reader.attributes)
        assert EVIL in reader.text


@given(st.text(), st.text(), st.text())
def test_any_text_comes_out_as_it_is(headline, thoughts, summary):
    block = Block("x" + headline[:100], thoughts, summary)
    reader = read(page(completion(Node(0, None, block)), thoughts=True))
    for part in (block.headline, thoughts, summary):
        assert part.replace("\r", "") in reader.text.replace("\r", "")
    assert escape(block.headline) in page(completion(Node(0, None, block)))


def test_a_long_chain_does_not_need_a_deep_stack():
    block = Block("on", "", "so")
    chain = tuple(Node(i, i - 1 if i else None, block, kept=True) for i in range(3000))
    forks = tuple(Node(i, max(0, i - 1) // 2 * 2 if i else None, block) for i in range(3000))
    for nodes in (chain, forks):
        tree = Tree("beam", (Message("user", "why?"),), Effort.LOW, nodes)
        assert read(page(Completion((), "1", Ended.ANSWERED, tree=tree))).tags.count("details") == 3000


def test_an_unfinished_answer_says_so():
    found = completion(Node(0, None, answer="half", ended=Ended.CUT_OFF))
    assert "no finished answer (cut_off)" in read(page(found)).text
