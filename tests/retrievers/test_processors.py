"""An index and a run are the same bytes whatever processor, library of products or number of threads made them."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_checkpoint
from places import TINY

pytest.importorskip("numba", reason="late interaction needs the extra 'colbert'")

SCIENCE = TINY / "science" / "test"
# plain loops, OpenBLAS for Haswell, numpy without AVX-512; bench_processors.py tries them one by one
OTHER = {
    "LOTTE_KERNELS": "plain", "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX AVX512_ICL",
}  # fmt: skip


def made(folder: Path, checkpoint: Path, env: dict[str, str], *options: str) -> dict[str, str]:
    """Evaluate in a process with this environment; return the sha256 of each array of the index and of each run."""
    asked = [word for option in (f"checkpoint={checkpoint}", "device=cpu", *options) for word in ("-o", option)]
    subprocess.run(
        [sys.executable, "-m", "leaderboard.cli", "eval", str(SCIENCE), "--retriever", "colbertv2", *asked,
         "--index", str(folder / "index"), "--out", str(folder / "results")],
        env=os.environ | env, check=True, capture_output=True,
    )  # fmt: skip
    files = [*folder.rglob("*.npy"), *folder.rglob("*.trec"), *folder.rglob("codec.json")]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_index_and_run_are_the_same_bytes_everywhere(tmp_path, precision):
    checkpoint = tiny_checkpoint.write(tmp_path / "checkpoint")
    wanted = made(tmp_path / "here", checkpoint, {}, f"precision={precision}", "threads=2")
    assert len(wanted) > 5
    assert made(tmp_path / "there", checkpoint, OTHER, f"precision={precision}", "threads=1") == wanted
