"""The page's own paths, from outside; what happens on it is seen in `page/`."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

import ponder.serve
from ponder.serve.keys import Keys
from ponder.tasks import TASKS

if TYPE_CHECKING:
    from tests.serve.conftest import Serve

FILES = sorted(path for path in (Path(ponder.serve.__file__).parent / "page").iterdir() if path.is_file())


def test_the_page_and_its_files_are_served(serve: Serve) -> None:
    served = serve()
    first = served.get("/")
    assert first.status_code == 200 and first.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in first.headers["content-security-policy"]
    for name in ("/favicon.ico", *re.findall(r'(?:href|src)="(/[^"]*)"', first.text)):
        reply = served.get(name)
        assert reply.status_code == 200 and reply.headers["x-content-type-options"] == "nosniff"
        again = served.get(name, headers={"if-none-match": reply.headers["etag"]})
        assert again.status_code == 304 and not again.content
    assert served.get("/page/nothing.js").status_code == 404
    assert served.get("/page/..%2fapp.py").status_code == 404


def test_nothing_on_it_comes_from_elsewhere() -> None:
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=\"", text), path.name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", text), (
            path.name
        )
        elsewhere = {*re.findall(r"https?://[^\s\"'`)]+", text)} - {
            "http://www.w3.org/1998/Math/MathML",
            "http://www.w3.org/2000/svg",
        }
        assert not [found for found in elsewhere if re.match(r"https?://\w", found)], path.name


def test_there_is_an_example_of_every_task_and_it_is_graded_exactly(serve: Serve) -> None:
    served = serve()
    found = served.get("/page/examples.json").json()
    assert [one["task"] for one in found] == list(TASKS)
    assert found != served.get("/page/examples.json?draw=1").json()
    graded = served.ask("/page/grade", {"id": found[0]["id"], "answer": "1"}).json()
    assert graded["score"] != 1.0
    assert served.ask("/page/grade", {"id": found[0]["id"], "answer": graded["answer"]}).json()["score"] == 1.0
    for wrong in ("nothing", "countdown:1:test:x", "countdown:9:test:0"):
        assert served.ask("/page/grade", {"id": wrong, "answer": "1"}).status_code == 400
    assert served.get("/page/examples.json?draw=-1").status_code == 400


def test_it_says_what_can_be_chosen(serve: Serve) -> None:
    about = serve().get("/page/about.json").json()
    assert about == {"effort": "medium", "thoughts": False, "tree": False}
    told = serve(direct=True, expose_thoughts=True).get("/page/about.json").json()
    assert told["effort"] == "none" and told["thoughts"]
    assert serve(search="majority", temperature=1.0).get("/page/about.json").json()["tree"]


def test_the_page_needs_no_key_but_asking_does(serve: Serve) -> None:
    served = serve(keys=Keys((hashlib.sha256(b"right").digest(),)))
    for path in ("/", "/favicon.ico", "/page/app.js", "/page/about.json", "/page/examples.json"):
        assert served.get(path).status_code == 200
    assert served.ask("/page/grade", {"id": "countdown:1:test:0", "answer": "1"}).status_code == 401
    assert served.get("/v1/models").status_code == 401
