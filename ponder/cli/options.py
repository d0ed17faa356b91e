"""The options that the training commands share."""

from pathlib import Path
from typing import Annotated

import typer

from ponder.types import Effort

Recipe = Annotated[Path | None, typer.Option("--recipe", help="Settings from a YAML file.", metavar="FILE.yaml")]
Efforts = Annotated[
    list[Effort] | None,
    typer.Option("--effort", help="May be given again: problems take turns.", show_default="medium"),
]
Samples = Annotated[int | None, typer.Option("--samples", help="Rollouts of each problem.", show_default="8")]
Device = Annotated[str | None, typer.Option("--device", help="auto, cpu or cuda.", show_default="auto")]
Dtype = Annotated[
    str | None, typer.Option("--dtype", help="auto (the faster one), float32, bfloat16.", show_default="auto")
]
Threads = Annotated[
    int | None, typer.Option("--threads", help="The trainer's CPU threads; 0 for all cores.", show_default="0")
]
Evaluations = Annotated[int, typer.Option("--evaluations", min=1, help="How often to measure on the way.")]
Rater = Annotated[
    str,
    typer.Option(
        "--rater",
        help="Who rates: the model's head, a judge (the model is asked yes or no), or exact: the truth, which is an "
        "upper bound and never a result.",
    ),
]
OwnRater = Annotated[
    str, typer.Option("--rater", help="Who rates: the model's head, or a judge: the model is asked yes or no.")
]
ReportTo = Annotated[
    str | None,
    typer.Option(
        "--report-to",
        help="tensorboard, trackio or wandb, beside metrics.jsonl.",
        show_default="metrics.jsonl alone",
        metavar="NAME",
    ),
]
