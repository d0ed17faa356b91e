"""The store by itself: whole rows, whatever kills whoever writes them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ponder.errors import ConfigError
from ponder.serve.store import MIGRATIONS, Kept, Store

if TYPE_CHECKING:
    from tests.serve.conftest import Serve


def kept(id: str, previous: str | None = None, owner: str = "") -> Kept:
    item = {"type": "message", "id": f"msg_{id}", "role": "user", "content": "½ \ud800"}
    return Kept(id, owner, previous, [item], {"id": id, "status": "in_progress", "output": []})


def run(work: Any) -> Any:
    return asyncio.run(work)


def test_what_is_kept_is_found_again_by_its_owner(tmp_path: Path) -> None:
    file = tmp_path / "new folder" / "responses.sqlite"
    store = Store(file)
    run(store.begin(kept("a", owner="ann")))
    run(store.finish("a", {"id": "a", "status": "completed"}, [b"event: x\ndata: 1\n\n", b"data: 2\n\n"]))
    store.close()
    assert file.stat().st_mode & 0o077 == 0, "what people ask is nobody else's business"
    store = Store(file)
    found = run(store.find("a", "ann"))
    assert found.whole["status"] == "completed" and found.items == kept("a").items
    assert found.events == [b"event: x\ndata: 1\n\n", b"data: 2\n\n"]
    assert run(store.find("a", "bob")) is None and run(store.delete("a", "bob")) is False
    assert run(store.delete("a", "ann")) is True and run(store.find("a", "ann")) is None
    store.close()


def test_conversations_are_chains_of_one_owner() -> None:
    store = Store()
    for id_, previous, owner in (("a", None, "ann"), ("b", "a", "ann"), ("c", "b", "ann"), ("d", "c", "bob")):
        run(store.begin(kept(id_, previous, owner)))
    assert [one.id for one in run(store.conversation("c", "ann"))] == ["a", "b", "c"]
    assert run(store.conversation("d", "bob")) is None, "what it goes on from is somebody else's"
    run(store.delete("a", "ann"))
    assert run(store.conversation("c", "ann")) is None
    store.close()


def test_what_nobody_goes_on_from_is_forgotten_in_time(tmp_path: Path) -> None:
    store = Store(tmp_path / "file", days=0)
    for id_, previous in (("a", None), ("b", "a"), ("c", None)):
        run(store.begin(kept(id_, previous)))
        run(store.finish(id_, {"id": id_}, []))
    assert run(store.sweep()) == 3 and run(store.find("a", "")) is None
    store.close()


def test_what_is_too_old_is_not_found_before_it_is_swept() -> None:
    store = Store(days=1)
    for id_, previous in (("a", None), ("b", "a")):
        run(store.begin(kept(id_, previous)))
    assert run(store.find("b", "")) and run(store.conversation("b", ""))
    store._base.execute("UPDATE responses SET used = used - 90000 WHERE id = 'a'")
    assert run(store.find("a", "")), "one that is being written is not too old"
    run(store.finish("a", {"id": "a"}, []))
    assert run(store.find("a", "")) is None and run(store.conversation("b", "")) is None
    assert run(store.find("b", "")) and run(store.sweep()) == 1
    store.close()


def test_a_file_is_written_ahead(tmp_path: Path) -> None:
    store = Store(tmp_path / "file")
    run(store.begin(kept("a")))
    assert store._base.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert (tmp_path / "file-wal").stat().st_size > 0
    store.close()
    assert (tmp_path / "file").read_bytes()[18:20] == b"\x02\x02", "SQLite's mark of such files"


def test_a_server_sweeps_when_it_starts_and_again(serve: Serve) -> None:
    served = serve(store=Store(days=1), sweep_seconds=0.02)
    app: Any = served.app.app  # type: ignore[attr-defined]

    async def left() -> int:
        for _ in range(200):
            (count,) = served.store._base.execute("SELECT count(*) FROM responses").fetchone()
            if not count:
                break
            await asyncio.sleep(0.01)
        return count

    async def main() -> None:
        old = "UPDATE responses SET used = used - 90000"
        await served.store.begin(kept("a"))
        await served.store.finish("a", {"id": "a"}, [])
        served.store._base.execute(old)
        async with app.router.lifespan_context(app):
            assert await left() == 0
            await served.store.begin(kept("b"))
            await served.store.finish("b", {"id": "b"}, [])
            served.store._base.execute(old)
            assert await left() == 0

    asyncio.run(main())


def test_secrets_stay_with_the_file(tmp_path: Path) -> None:
    store = Store(tmp_path / "file")
    secret = store.secret("seal")
    assert len(secret) == 32 and secret == store.secret("seal") != store.secret("other")
    store.close()
    store = Store(tmp_path / "file")
    assert store.secret("seal") == secret
    store.close()


def test_files_that_do_not_fit_are_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("nothing like a database, but long enough to be read as one" * 20)
    with pytest.raises(ConfigError, match="not a database"):
        Store(tmp_path / "text")
    store = Store(tmp_path / "file")
    with pytest.raises(ConfigError, match="another server uses it"):
        Store(tmp_path / "file")
    store.close()


def test_schemas_go_on_from_version_to_version(tmp_path: Path) -> None:
    store = Store(tmp_path / "file")
    run(store.begin(kept("a")))
    store.close()
    later = (*MIGRATIONS, "ALTER TABLE responses ADD COLUMN note TEXT", "UPDATE responses SET note = 'moved'")
    Store(tmp_path / "file", migrations=later).close()
    store = Store(tmp_path / "file", migrations=later)
    assert run(store.find("a", "")).id == "a"
    store.close()
    with pytest.raises(ConfigError, match="newer Ponder .schema 3"):
        Store(tmp_path / "file")


def test_a_migration_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    Store(tmp_path / "file").close()
    with pytest.raises(ConfigError, match="no such table"):
        Store(tmp_path / "file", migrations=(*MIGRATIONS, "DROP TABLE server; DROP TABLE missing"))
    store = Store(tmp_path / "file")
    assert len(store.secret("seal")) == 32
    store.close()


WRITER = """
import asyncio, sys
from ponder.serve.store import Kept, Store
store = Store(sys.argv[1])
async def main():
    number = 0
    while True:
        whole = {"id": str(number), "status": "in_progress", "output": []}
        await store.begin(Kept(str(number), "", None, [], whole))
        if number % 3:
            whole |= {"status": "completed", "text": "x" * 5000}
            await store.finish(str(number), whole, [b"data: 1\\n\\n"] * 50)
            print(number, flush=True)
        number += 1
asyncio.run(main())
"""


def test_killed_at_any_moment_nothing_is_half_written(tmp_path: Path) -> None:
    file = tmp_path / "file"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(file)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout
    told = [int(writer.stdout.readline()) for _ in range(60)]
    os.kill(writer.pid, signal.SIGKILL)
    told += [int(line) for line in writer.communicate()[0].splitlines()]
    store = Store(file)
    for number in range(told[-1] + 1):
        found = run(store.find(str(number), ""))
        if number % 3:
            assert found.whole["status"] == "completed" and len(found.whole["text"]) == 5000
            assert len(found.events) == 50
        else:
            assert found.whole["status"] == "failed" and found.whole["error"]["code"] == "server_error"
            assert found.events is None
    json.dumps(found.whole)
    store.close()
