"""Do the installed peers run the same model? ``python -m benchmarks.peers.check``: greedy tokens beside ours."""

from pathlib import Path

import torch
from rich.console import Console

from benchmarks.peers.client import PEERS, ROOT, Peer, installed
from benchmarks.peers.protocol import Ids
from ponder.engine.local import LocalSampler
from ponder.interfaces import Prefix
from ponder.model.checkpoint import load_checkpoint
from ponder.tasks import TASKS, make
from ponder.text.format import BLOCKS, Mark
from ponder.types import Effort, Message, Split

MODEL = ROOT / "models" / "ponder-mini"
ASKED = ("multiplication", "letters", "sudoku", "equations")
MOST = 48


def questions(model: Path) -> tuple[list[Ids], list[int]]:
    """A context of each task asked, and the tokens that end a block or an answer."""
    checkpoint = load_checkpoint(model)
    sampler = LocalSampler(checkpoint)
    prompts = [make(TASKS[name], 2, Split.VALIDATION, 0).prompt for name in ASKED]
    contexts = [list(sampler.context(Prefix((Message("user", prompt),), Effort.MEDIUM))) for prompt in prompts]
    marker = {mark: checkpoint.tokenizer.special[piece.text] for mark, piece in BLOCKS.marker.items()}
    return contexts, [marker[Mark.END_BLOCK], marker[Mark.END]]


def expected(model: Path, contexts: list[Ids], stops: list[int]) -> list[Ids]:
    """The greedy continuations by plain forward passes in float32, a token at a time, with no cache or padding."""
    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    written: list[Ids] = []
    for context in contexts:
        ids = list(context)
        while len(ids) < len(context) + MOST and (len(ids) == len(context) or ids[-1] not in stops):
            with torch.inference_mode():
                ids.append(int(network(torch.tensor([ids])).logits[0, -1].argmax()))
        written.append(ids[len(context) :])
    return written


def main() -> None:
    """Print, for each installed peer, how many contexts and tokens agree."""
    console = Console()
    contexts, stops = questions(MODEL)
    right = expected(MODEL, contexts, stops)
    for name in PEERS:
        if not installed(name):
            console.print(f"{name}: not installed")
            continue
        with Peer(name, MODEL) as peer:
            # Each context twice: the second is where a peer that shares prompts would go wrong.
            found = peer.generate([*contexts, *contexts], stops, MOST, temperature=0.0).ids
        same = sum(mine == theirs for mine, theirs in zip([*right, *right], found, strict=True))
        console.print(f"{name}: {same} of {len(found)} continuations agree ({peer.engine} {peer.version})")


if __name__ == "__main__":
    main()
