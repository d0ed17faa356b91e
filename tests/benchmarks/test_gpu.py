"""The measurement for GPUs runs on a CPU in small, and refuses to be taken for more there."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def ran(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.gpu", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def test_a_micro_network_is_measured_on_a_cpu(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    done = ran("--device", "cpu", "--quick", "--repeats", "1", "--dtype", "float32", "--json", str(out))
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["device"] == "cpu" and set(found["micro"]) == {"1", "8"}
    for one in found["micro"].values():
        assert one["tokens_a_second"]["graphs"]["median"] > 0 and 0 < one["share"] < 1
    assert "| micro | 8 |" in done.stdout


def test_a_cpu_alone_is_refused_in_a_sentence() -> None:
    done = ran("--device", "cpu")
    assert done.returncode == 1 and not done.stdout
    assert "finds no CUDA device" in done.stderr and "Traceback" not in done.stderr
