"""Networks that are exported once for all tests of all workers: an export takes many seconds."""

import fcntl
import os
from pathlib import Path

import pytest

from export.to_onnx import export

WEIGHTS = Path(__file__).parents[2] / "weights"


@pytest.fixture(scope="session")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`nano` as it is shipped, in FP16; `export` has checked it against float64."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent  # of all workers
    out = shared / "half" / "nano.fp16.onnx"
    with (shared / "half.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not out.exists():
            export(WEIGHTS / "nano.safetensors", out, "fp16")
    return out
