"""The server under load: ``python -m benchmarks.serve`` (about half an hour, nothing else running).

So many clients stream responses at effort low, each the next one as soon as its last has ended, from a `ponder serve`
with a store on disk. Measured are the times to the first summary and to the answer, what was lost or corrupted, the
server's memory, and its tokens per second beside the engine's own with the same questions, as many chains at once and
as many threads; and beside `transformers serve` with the same weights and questions. Phases are interleaved in one run.
The clients share the machine with all of them; what they take of it is stated.
"""

import argparse
import json
import platform
import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.engine import commit
from benchmarks.load import Clients, Heard, Read, load, read_chat, read_response
from benchmarks.page import publish
from benchmarks.peers.client import PEERS, installed
from benchmarks.servers import Own, Server, chat_body, ponder, response_body, transformers
from ponder.cli.models import find_model
from ponder.tasks import TASKS, make
from ponder.types import Split

RESULTS = Path(__file__).parent / "results" / "serve.json"
GOALS = {"own": 0.85, "transformers": 5.0, "memory": 1.1}
"""Least ratios of tokens per second; of memory, the most that a load's second half may need of what its first did."""
LEVEL = 2
QUESTIONS = 4
"""For each client; then they begin again."""
Note = Callable[[str], None]


def prompts(count: int) -> list[str]:
    """Held-out problems of all tasks in turn."""
    tasks = list(TASKS.values())
    return [make(tasks[at % len(tasks)], LEVEL, Split.TEST, at // len(tasks)).prompt for at in range(count)]


# --- a load --------------------------------------------------------------------------------------------------------


@dataclass
class Phase:
    """What a server did under a load."""

    heard: list[Heard]
    seconds: float
    server_cpu: float
    client_cpu: float
    memory: list[float] = field(default_factory=list[float])
    read: list[Read] = field(default_factory=list[Read])

    @property
    def tokens_a_second(self) -> float:
        """Of the streams that are whole."""
        return sum(one.tokens for one in self.read) / self.seconds

    def wrong(self) -> dict[str, int]:
        """What is wrong with the others."""
        found = [one.wrong for one in self.read if one.wrong]
        return {what: found.count(what) for what in sorted(set(found))}


def phase(server: Server, clients: Clients, read: Callable[[Heard], Read], count: int, seconds: float) -> Phase:
    """One load, and what was heard of it; the clients' time ends before anything is read."""
    memory, over = [server.memory()], threading.Event()

    def watch() -> None:
        while not over.wait(max(2.0, seconds / 40)):
            memory.append(server.memory())

    watching = threading.Thread(target=watch)
    watching.start()
    began = time.monotonic(), server.cpu(), time.process_time()
    heard = load(clients, count, seconds)
    ends = time.monotonic(), server.cpu(), time.process_time()
    over.set()
    watching.join()
    wall, theirs, ours = (end - begin for begin, end in zip(began, ends, strict=True))
    return Phase(heard, wall, theirs, ours, [*memory, server.memory()], [read(one) for one in heard])


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """The median and what one in a hundred exceeds."""
    order = sorted(seconds)
    at = {f"p{p}": order[min(len(order) - 1, len(order) * p // 100)] for p in (50, 99)} if order else {}
    return {name: round(value, 3) for name, value in at.items()}


def growth(memory: Sequence[float]) -> float:
    """The most in the second half beside the most in the first, in which caches fill up."""
    half = max(1, len(memory) // 2)
    return max(memory[half:], default=memory[0]) / max(memory[:half])


def climb(memory: Sequence[float]) -> float:
    """The median of the last third beside that of the middle one: without the moments in which caches are copied to
    grow, which the most is made of."""
    third = len(memory) // 3
    return statistics.median(memory[-third:]) / statistics.median(memory[third:-third]) if third else 1.0


def others_than(answers: dict[str, Any], asked: int, phase: Phase) -> int:
    """How many whole streams did not come to what the engine by itself wrote for the same question."""
    pairs = ((answers.get(str(one.asked % asked)), read) for one, read in zip(phase.heard, phase.read, strict=True))
    return sum(own is not None and not read.wrong and own != [read.tokens, read.answer] for own, read in pairs)


def against_own(
    server: Server, own: Own, asked: Sequence[str], given: argparse.Namespace, note: Note
) -> dict[str, Any]:
    """The server and the engine by itself, in turn."""
    clients = Clients(server.port, "/v1/responses", response_body(server, asked))
    order = {"prompts": list(asked), "clients": given.clients, "seconds": given.seconds}
    own.run(**order | {"clients": min(8, given.clients), "seconds": 0.1})
    phase(server, clients, read_response, min(8, given.clients), 0.1)
    phases, alone, others = list[Phase](), list[dict[str, Any]](), 0
    for repeat in range(given.repeats):
        alone.append(own.run(**order))
        phases.append(phase(server, clients, read_response, given.clients, given.seconds))
        others += others_than(alone[-1].pop("answers"), len(asked), phases[-1])
        one, engine = phases[-1], alone[-1]["tokens"] / alone[-1]["seconds"]
        note(
            f"  {repeat + 1}/{given.repeats}: {one.tokens_a_second:,.0f} tokens/s, the engine {engine:,.0f}; wrong: "
            f"{one.wrong() or 'none'}; clients' CPU {one.client_cpu / one.seconds:.0%}"
        )
        for each in one.heard:
            each.raw = b""
    heard, read = [one for p in phases for one in p.heard], [one for p in phases for one in p.read]
    memory, whole = [one for p in phases for one in p.memory], [one for one in read if not one.wrong]
    wrong = [one.wrong for one in read if one.wrong]
    engine = [one["tokens"] / one["seconds"] for one in alone]
    # Each load by itself, and all of them as one: neither may climb.
    loads = [memory, *(one.memory for one in phases)]
    return {
        "clients": given.clients,
        "seconds": round(sum(one.seconds for one in phases), 1),
        "streams": len(heard),
        "wrong": {what: wrong.count(what) for what in sorted(set(wrong))},
        "other_than_the_engines": others,
        "first_summary_s": percentiles([one.first["summary"] for one in heard if "summary" in one.first]),
        "first_answer_s": percentiles([one.first["answer"] for one in heard if "answer" in one.first]),
        "whole_s": percentiles([one.whole for one in heard]),
        "tokens_a_stream": round(statistics.mean(one.tokens for one in whole), 1) if whole else 0,
        "tokens_a_second": round(statistics.median(one.tokens_a_second for one in phases)),
        "own_tokens_a_second": round(statistics.median(engine)),
        "share_of_own": spread([one.tokens_a_second / mine for one, mine in zip(phases, engine, strict=True)]),
        "memory_mb": {
            "start": round(memory[0]),
            "middle": round(memory[len(memory) // 2]),
            "end": round(memory[-1]),
            "most": round(max(memory)),
        },
        "memory_growth": round(max(map(growth, loads)), 3),
        "memory_climb": round(max(map(climb, loads)), 3),
        "cpu_ms_a_stream": {
            "server": ms(sum(one.server_cpu for one in phases), len(heard)),
            "clients": ms(sum(one.client_cpu for one in phases), len(heard)),
            "engine by itself": ms(sum(one["cpu_seconds"] for one in alone), sum(one["streams"] for one in alone)),
        },
        "clients_cpu_share": round(sum(one.client_cpu for one in phases) / sum(one.seconds for one in phases), 3),
    }


def against_transformers(
    server: Server, model: Path, asked: Sequence[str], given: argparse.Namespace, note: Note
) -> dict[str, Any]:
    """The server and `transformers serve`, in turn, with as many clients each."""
    found: dict[str, Any] = {}
    with transformers(model, given.threads) as peer:
        for count in given.peer_clients:
            rates: dict[str, list[float]] = {"ponder": [], "transformers": []}
            wrong: dict[str, int] = {}
            ways = {
                "ponder": (server, Clients(server.port, "/v1/responses", response_body(server, asked)), read_response),
                "transformers": (peer, Clients(peer.port, "/v1/chat/completions", chat_body(peer, asked)), read_chat),
            }
            for repeat in range(given.repeats):
                for name, (one, clients, read) in ways.items():
                    done = phase(one, clients, read, count, given.peer_seconds)
                    rates[name].append(done.tokens_a_second)
                    wrong |= {f"{name}, {what}": times + wrong.get(what, 0) for what, times in done.wrong().items()}
                    said = f"{name}: {done.tokens_a_second:,.0f} tokens/s, {len(done.heard)} streams"
                    note(f"  {count} clients, {repeat + 1}/{given.repeats} {said}; wrong: {done.wrong() or 'none'}")
            ratio = [mine / theirs if theirs else 0.0 for mine, theirs in zip(*rates.values(), strict=True)]
            found[str(count)] = {name: round(statistics.median(some)) for name, some in rates.items()}
            found[str(count)] |= {"ratio": spread(ratio), "wrong": wrong}
    return found


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and most."""
    told = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: round(value, 3) for name, value in told.items()}


def ms(seconds: float, count: int) -> float:
    """Milliseconds each."""
    return round(1000 * seconds / max(1, count), 2)


# --- what was found ------------------------------------------------------------------------------------------------


def section(found: Mapping[str, Any]) -> str:
    """The results as Markdown."""
    own, cpu, memory = found["served"], found["served"]["cpu_ms_a_stream"], found["served"]["memory_mb"]
    wrong = ", ".join(f"{times} {what}" for what, times in own["wrong"].items()) or "none lost, none corrupted"
    lines = [
        "## The server under load",
        "",
        f"`python -m benchmarks.serve`: streams of `/v1/responses` at effort low, {own['clients']} at once, each",
        "client the next one as soon as its last has ended; "
        f"{own['streams']:,} streams in {found['repeats']} times {found['seconds']:g} s.",
        "Ratios: median (min–max) of interleaved repetitions.",
        "",
        "| | ponder serve | beside | | ratio | goal |",
        "| --- | --- | --- | --- | --- | --- |",
        f"| tokens/s, {own['clients']} clients | {own['tokens_a_second']:,} | the engine by itself | "
        f"{own['own_tokens_a_second']:,} | {told(own['share_of_own'])} | ≥ {GOALS['own']:g} |",
    ]
    for clients, one in found.get("transformers", {}).items():
        lines.append(
            f"| tokens/s, {clients} clients | {one['ponder']:,} | transformers serve | {one['transformers']:,} | "
            f"{told(one['ratio'])} | ≥ {GOALS['transformers']:g} |"
        )
    lines.append(
        f"| most memory, MB | {memory['most']:,} | a load's second half beside its first | | "
        f"{own['memory_growth']:.2f} | ≤ {GOALS['memory']:g} |\n"
        f"| memory, MB | {memory['end']:,} | a load's last third beside its middle, medians | | "
        f"{own['memory_climb']:.2f} | ≤ {GOALS['memory']:g} |"
    )
    times = {"to the first summary": "first_summary_s", "to the answer": "first_answer_s", "to the end": "whole_s"}
    rows = [f"| {what} | {own[name].get('p50', '–')} | {own[name].get('p99', '–')} |" for what, name in times.items()]
    lines += [
        "",
        f"Streams: {wrong}; {own['other_than_the_engines']:,} differ from what the engine by itself wrote for the same",
        "question. Looked at are each stream's events, their order and numbers, its parts against its whole, and its",
        "usage.",
        "",
        "| seconds | p50 | p99 |",
        "| --- | --- | --- |",
        *rows,
        "",
        "Memory of the server, MB: "
        f"{memory['start']:,} at the start, {memory['middle']:,} half way, {memory['end']:,} at the end,",
        f"{memory['most']:,} at most. A stream has {own['tokens_a_stream']:.0f} tokens; its milliseconds of a core are",
        f"{cpu['server']} in the server, {cpu['engine by itself']} in the engine by itself and {cpu['clients']} in the "
        "clients,",
        f"which share the machine and take {own['clients_cpu_share']:.0%} of a core.",
        "",
        f"The code of commit {found['commit']}, {found['machine']}; server and engine sample in one thread each,",
        f"`transformers serve` batches continuously on {found['threads']} threads, and may write as many tokens.",
    ]
    return "\n".join(lines)


def missed(found: Mapping[str, Any]) -> list[str]:
    """The goals that were not reached, in a sentence each."""
    own = found["served"]
    least = {"tokens/s beside the engine by itself": (own["share_of_own"]["median"], GOALS["own"])}
    for clients, one in found.get("transformers", {}).items():
        name = f"tokens/s beside transformers serve, {clients} clients"
        least[name] = one["ratio"]["median"], GOALS["transformers"]
    said = [f"{name}: {value:g}, goal {goal:g}" for name, (value, goal) in least.items() if value < goal]
    said += [f"{times} streams: {what}" for what, times in own["wrong"].items()]
    memory = {"memory_growth": "second half: {:g} of the first", "memory_climb": "end: {:g} of its middle"}
    for key, name in memory.items():
        if own[key] > GOALS["memory"]:
            said.append(f"memory in a load's {name.format(own[key])}, goal {GOALS['memory']:g}")
    return said


def told(ratio: Mapping[str, float]) -> str:
    """A ratio and its spread."""
    return f"{ratio['median']:.2f} ({ratio['min']:.2f}–{ratio['max']:.2f})"


def main() -> int:
    """Measure, write the results, print them; 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="else the embedded one")
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=120, help="of each phase beside the engine")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peer-clients", type=int, nargs="*", default=[24, 100], help="none leaves the peer out")
    parser.add_argument("--peer-seconds", type=float, default=30)
    parser.add_argument("--threads", type=int, default=2, help="of the peer")
    parser.add_argument("--json", type=Path, help="write the results here alone, and not to results/ and the page")
    given = parser.parse_args()
    console, model = Console(stderr=True), find_model(given.model).resolve()
    asked = prompts(QUESTIONS * given.clients)
    found: dict[str, Any] = {"model": model.name, "commit": commit()}
    found["machine"] = platform.processor() or platform.machine()
    found |= {name: getattr(given, name) for name in ("seconds", "repeats", "threads")}
    with ponder(model, given.clients) as server:
        console.print(f"{given.clients} clients, beside the engine by itself")
        with Own(model) as own:
            found["served"] = against_own(server, own, asked, given, console.print)
        if given.peer_clients and installed("continuous"):
            console.print("beside transformers serve")
            found["transformers"] = against_transformers(server, model, asked, given, console.print)
        elif given.peer_clients:
            setup = f"python -m benchmarks.peers.setup {PEERS['continuous'].environment}"
            console.print(f"transformers serve is left out: `{setup}` installs it", markup=False)
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    else:
        publish(found, RESULTS, "serve", section(found))
    console.print(section(found), markup=False)
    for one in missed(found):
        console.print(f"missed: {one}", style="red", markup=False)
    return int(bool(missed(found)))


if __name__ == "__main__":
    raise SystemExit(main())
