"""What many tests share: a tiny random checkpoint, made once."""

import os
from pathlib import Path

# Tiny networks gain nothing from more threads, and lose much where other programs run. Before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

settings.register_profile("ponder", deadline=None)  # a busy machine is not a failure
settings.load_profile("ponder")

TEXTS = ("What is 12 * 34? the sum of both is over the total", "start from the answer and check it again", "so it is 7")


@pytest.fixture(scope="session")
def micro_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of random weights that loads in an instant; only to be read."""
    from dataclasses import replace

    import torch

    from ponder.model.checkpoint import Checkpoint, PonderConfig, save_checkpoint
    from ponder.model.network import new_network
    from ponder.model.sizes import shape_named
    from ponder.text.tokenizer import train_tokenizer

    tokenizer = train_tokenizer(TEXTS, 320)
    network = new_network(replace(shape_named("micro"), vocab_size=tokenizer.size), seed=0)
    # A fresh network's layers add nothing: without this, attention would never be tested.
    generator = torch.Generator().manual_seed(1)
    for name, parameter in network.named_parameters():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            torch.nn.init.normal_(parameter, std=0.2, generator=generator)
    folder = tmp_path_factory.mktemp("models") / "micro"
    save_checkpoint(Checkpoint(network, tokenizer, PonderConfig(name="micro", fold_window=1)), folder)
    return folder
