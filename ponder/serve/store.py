"""Responses that are kept, in SQLite: what was asked, what became of it, and the events of its stream.

A response is there twice only: as it began, and as it ended. Each is one transaction, so that whatever kills the server
leaves whole rows; the next server finds those that had begun and tells them as failed. All work is done in a thread of
its own, off the event loop.
"""

import asyncio
import json
import logging
import secrets
import sqlite3
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ponder.errors import ConfigError
from ponder.serve import sse

T = TypeVar("T")
log = logging.getLogger("ponder.serve")
Json = dict[str, Any]
MEMORY = ":memory:"
"""In place of a file: forgets everything with the server."""
DAYS = 30.0
"""So long a response is kept after it was last gone on from, as OpenAI does."""
LONGEST = 4096
"""Most responses in one conversation."""
STOPPED = {"code": "server_error", "message": "The server stopped before this response was finished."}
MIGRATIONS = (
    """
    CREATE TABLE responses (
        id TEXT PRIMARY KEY,
        owner TEXT NOT NULL,
        previous TEXT,
        used REAL NOT NULL,
        running INTEGER NOT NULL,
        items TEXT NOT NULL,
        whole TEXT NOT NULL,
        events BLOB
    ) STRICT;
    CREATE INDEX responses_by_use ON responses (used);
    CREATE INDEX responses_running ON responses (running) WHERE running;
    CREATE TABLE server (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
    """,
)
"""From each schema version to the next; a file's version is its ``user_version``."""
FIND = """
    SELECT previous, items, whole, events FROM responses WHERE id = ? AND owner = ? AND (running OR used >= ?)
"""
CHAIN = """
    WITH RECURSIVE chain (id, previous, items, whole, depth) AS (
        SELECT id, previous, items, whole, 0 FROM responses
        WHERE id = :id AND owner = :owner AND (running OR used >= :oldest)
        UNION ALL
        SELECT older.id, older.previous, older.items, older.whole, depth + 1
        FROM responses AS older JOIN chain ON older.id = chain.previous
        WHERE older.owner = :owner AND depth < :longest AND (older.running OR older.used >= :oldest)
    )
    SELECT id, previous, items, whole FROM chain ORDER BY depth DESC
"""


@dataclass(frozen=True)
class Kept:
    """One response."""

    id: str
    owner: str
    """Whose key it was asked with; nobody else can see it."""
    previous: str | None
    """The response that it goes on from."""
    items: Sequence[Mapping[str, Any]]
    """Its own input."""
    whole: Json
    """Its object."""
    events: Sequence[bytes] | None = None
    """Its stream, event by event; None where it was never finished."""


class Store:
    """One file's responses; only one server may use a file."""

    def __init__(self, file: Path | str = MEMORY, days: float = DAYS, migrations: Sequence[str] = MIGRATIONS) -> None:
        self._days = days
        if str(file) != MEMORY:
            Path(file).parent.mkdir(parents=True, exist_ok=True)
            Path(file).touch(mode=0o600)
        self._base = sqlite3.connect(file, timeout=1, isolation_level=None, check_same_thread=False)
        try:
            self._open(file, migrations)
        except sqlite3.DatabaseError as err:
            self._base.close()
            said = "another server uses it" if "locked" in str(err) else str(err)
            raise ConfigError(f"--store {file} cannot be used, {said}: name another file, or {MEMORY}") from None
        self._thread = ThreadPoolExecutor(1, "store")

    def _open(self, file: Path | str, migrations: Sequence[str]) -> None:
        for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = NORMAL", "secure_delete = ON"):
            self._base.execute(f"PRAGMA {pragma}")
        (version,) = self._base.execute("PRAGMA user_version").fetchone()
        if version > len(migrations):
            self._base.close()
            raise ConfigError(f"--store {file} was written by a newer Ponder (schema {version}): name another file")
        for number, migration in enumerate(migrations[version:], version + 1):
            self._base.executescript(f"BEGIN IMMEDIATE; {migration}; PRAGMA user_version = {number}; COMMIT")
        with self._base:
            self._base.execute("BEGIN IMMEDIATE")
            self._give_up()

    def _give_up(self) -> None:
        """What an earlier server has begun and not finished has failed."""
        for id_, whole in self._base.execute("SELECT id, whole FROM responses WHERE running").fetchall():
            failed = json.loads(whole) | {"status": "failed", "error": STOPPED}
            self._base.execute(
                "UPDATE responses SET running = 0, whole = ? WHERE id = ?", (sse.dumps(failed).decode(), id_)
            )

    async def begin(self, kept: Kept) -> None:
        """A response has begun."""
        items, whole = sse.dumps(list(kept.items)).decode(), sse.dumps(kept.whole).decode()
        row = (kept.id, kept.owner, kept.previous, time.time(), 1, items, whole)
        await self._do(lambda: self._change("INSERT INTO responses VALUES (?, ?, ?, ?, ?, ?, ?, NULL)", row))

    async def finish(self, id: str, whole: Json, events: Sequence[bytes]) -> None:
        """It has ended, however; one that was deleted stays so."""

        def work() -> None:
            row = (sse.dumps(whole).decode(), zlib.compress(b"".join(events), 1), id)
            self._change("UPDATE responses SET running = 0, whole = ?, events = ? WHERE id = ?", row)

        await self._do(work)

    async def find(self, id: str, owner: str) -> Kept | None:
        """A response of an owner."""

        def work() -> Kept | None:
            row = self._base.execute(FIND, (id, owner, self._oldest)).fetchone()
            if row is None:
                return None
            previous, items, whole, events = row
            told = None if events is None else _events(zlib.decompress(events))
            return Kept(id, owner, previous, json.loads(items), json.loads(whole), told)

        return await self._do(work)

    async def conversation(self, id: str, owner: str) -> list[Kept] | None:
        """The responses from the first one to this one; None where one of them is missing. They stay for longer."""

        def work() -> list[Kept] | None:
            asked = {"id": id, "owner": owner, "longest": LONGEST, "oldest": self._oldest}
            rows = self._base.execute(CHAIN, asked).fetchall()
            if not rows or rows[0][1] is not None:
                return None
            with self._base:
                self._base.execute("BEGIN IMMEDIATE")
                used = [(time.time(), row[0]) for row in rows]
                self._base.executemany("UPDATE responses SET used = ? WHERE id = ?", used)
            return [
                Kept(id_, owner, previous, json.loads(items), json.loads(whole)) for id_, previous, items, whole in rows
            ]

        return await self._do(work)

    async def delete(self, id: str, owner: str) -> bool:
        """Forget a response; False where there was none."""
        asked = "DELETE FROM responses WHERE id = ? AND owner = ?"
        return await self._do(lambda: self._change(asked, (id, owner)) == 1)

    async def sweep(self) -> int:
        """Forget those that nobody has gone on from for too long; how many there were."""
        asked = "DELETE FROM responses WHERE NOT running AND used < ?"
        return await self._do(lambda: self._change(asked, (self._oldest,)))

    async def sweeping(self, seconds: float) -> None:
        """Sweep now, and again every so many seconds."""
        while True:
            try:
                await self.sweep()
            except sqlite3.Error as err:  # what is too old is not found anyway; another time it may be possible
                log.error("responses that are too old could not be removed: %s", err)
            await asyncio.sleep(seconds)

    @property
    def _oldest(self) -> float:
        """When a response must have been used last to be kept still."""
        return time.time() - 86400 * self._days

    def secret(self, name: str) -> bytes:
        """32 random bytes of this file's, the same ones whenever they are asked for."""

        def work() -> bytes:
            self._change("INSERT OR IGNORE INTO server VALUES (?, ?)", (name, secrets.token_bytes(32)))
            (value,) = self._base.execute("SELECT value FROM server WHERE name = ?", (name,)).fetchone()
            return value

        return self._thread.submit(work).result()

    def close(self) -> None:
        """Finish what was asked for, and close the file."""
        self._thread.shutdown()
        self._base.close()

    async def _do(self, work: Callable[[], T]) -> T:
        # Shielded: whoever is cancelled must not take half of a change with it.
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, work))

    def _change(self, asked: str, row: Sequence[object]) -> int:
        with self._base:
            return self._base.execute(asked, row).rowcount


def _events(told: bytes) -> list[bytes]:
    return [part + b"\n\n" for part in told.split(b"\n\n")[:-1]]
