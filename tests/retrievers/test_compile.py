"""Compiled code is kept until its sources change, and found again by the next process."""

import os
import subprocess
import sys

import numpy as np
import pytest
from places import HOUSE

pytest.importorskip("numba", reason="the compiled kernels need the extra 'colbert'")
from retrievers.colbert.kernels import candidates, centroids, compile, decode


def test_compiled_code_is_kept_until_one_of_the_sources_changes():
    """By numba itself: until the file of the function does, and most of what is compiled is written elsewhere."""
    stamps = {made._cache._cache_file._source_stamp for made in (centroids._best_centroids, candidates._gather)}
    assert stamps == {compile.SOURCES}


MADE_TWICE = """
from retrievers.colbert.kernels import compile, decode
import numpy as np
run = decode._decode(16, 2, 0, 0)
tables = decode.Tables(np.zeros((256, 4), "f4"), np.zeros(16, "f4"), np.full((1, 16), 200, "u1"), np.float32(0.01))
run(tables, np.zeros(1, "u2"), np.zeros((1, 4), "u1"), np.empty((1, 16), "f4"))
print(len(run.stats.cache_hits), len(run.stats.cache_misses))
"""


def test_code_that_calls_other_compiled_code_is_found_again_by_the_next_process(tmp_path):
    """Numba by itself compiles it anew in every process, because it names what a function closes over at random."""
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    said = [
        subprocess.run([sys.executable, "-c", MADE_TWICE], env=env, capture_output=True, text=True).stdout
        for _ in range(2)
    ]
    assert said == ["0 1\n", "1 0\n"]


RENAMED = """
from typing import NamedTuple
from retrievers.colbert.kernels.compile import compiled
class {name}(NamedTuple):
    a: int
@compiled
def first(pair):
    return pair.a
print(first({name}(3)))
"""


def test_code_that_was_kept_for_a_class_that_is_gone_is_compiled_anew(tmp_path):
    """As after an update that renames what a kernel takes: numba by itself ends with AttributeError."""
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "kept"), "PYTHONPATH": os.pathsep.join([str(tmp_path), str(HOUSE)])}
    said = []
    for name in ("Pair", "Twins"):
        (tmp_path / "named.py").write_text(RENAMED.format(name=name))
        said.append(subprocess.run([sys.executable, "-c", "import named"], env=env, capture_output=True, text=True).stdout)
    assert said == ["3\n", "3\n"]


def test_code_for_other_shapes_is_kept_apart():
    keys = {compile._identity(decode._decode(dim, bits, 0, 0)).__repr__() for dim in (16, 32) for bits in (1, 2)}
    assert len(keys) == 4


def test_a_kernel_that_closes_over_an_array_is_refused():
    table = np.zeros(3)
    with pytest.raises(TypeError, match="closes over ndarray; give it as an argument"):
        compile.compiled(lambda x: table[x])


def test_where_nothing_may_be_written_code_is_compiled_anew(monkeypatch, capsys):
    import numba

    njit = numba.njit

    def nowhere(function, **options):
        if options.pop("cache", False):
            raise RuntimeError("cannot cache function 'f': no locator available for file 'x.py'")
        return njit(function, **options)

    monkeypatch.setattr(numba, "njit", nowhere)
    compile._say_once.cache_clear()
    assert [compile.compiled(lambda x: x + 1)(2) for _ in range(2)] == [3, 3]
    assert capsys.readouterr().err.count("\n") == 1
