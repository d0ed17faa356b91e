"""`ponder doctor`: what is installed, what it would compute on, and what is missing."""

import os
import platform
from importlib import metadata
from typing import Any

import typer

from ponder import __version__
from ponder.cli import models, output
from ponder.cli.output import JsonOption
from ponder.errors import PonderError

NEEDED = (
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "numpy",
    "numba",
    "httpx",
    "pydantic",
    "pyyaml",
    "typer",
    "rich",
    "fastapi",
    "uvicorn",
)
OPTIONAL = {
    "reasoning-gym": "pip install 'ponder[gym]' brings `ponder eval --gym`",
    "matplotlib": "pip install 'ponder[plots]' brings `ponder report`",
}


def doctor(json: JsonOption = False) -> None:
    """Check the installation: versions, device, number format, the embedded model, and what is missing.

    Example: ponder doctor

    Exit code 1 means that something needed is missing.
    """
    versions = {name: _version(name) for name in (*NEEDED, *OPTIONAL)}
    missing = [f"{name}: pip install {name}" for name in NEEDED if versions[name] is None]
    hints = [f"{name} is not installed: {how}" for name, how in OPTIONAL.items() if versions[name] is None]
    report: dict[str, Any] = {
        "ponder": __version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        **versions,
    }
    if versions["torch"]:
        from ponder.model.device import pick_device, pick_dtype, pick_sampling_dtype
        from ponder.model.sizes import SIZES

        device = pick_device()
        dtype = pick_dtype(device.value, SIZES["mini"].hidden_size)
        report["device"] = f"{device.value}: {device.reason}"
        report["dtype"] = f"{dtype.value} for training: {dtype.reason}"
        sampling = pick_sampling_dtype(device.value)
        report["sampling"] = f"{sampling.value}: {sampling.reason}"
    report["model"], fault = _model()
    missing += [fault] if fault else []
    report |= {"missing": missing, "hints": hints}
    _show(report, json)
    if missing:
        raise typer.Exit(1)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _model() -> tuple[str, str | None]:
    """Where the default model lies and, if it does not load, what is wrong."""
    try:
        folder = models.find_model(None)
        name = models.load(folder, "cpu").name
    except PonderError as err:
        return "not usable", str(err)
    except ImportError as err:
        return "not checked", f"{err}: the model cannot be loaded without it"
    return f"{name}, in {folder}", None


def _show(report: dict[str, Any], json: bool) -> None:
    if json:
        output.document(report)
        return
    for name, value in report.items():
        if name not in ("missing", "hints"):
            output.result(f"{name:<14}{value if value is not None else 'not installed'}")
    for text in report["missing"]:
        output.note(f"missing: {text}", style="red")
    for text in report["hints"]:
        output.note(text)
    if not report["missing"]:
        output.result("all that is needed is here")
