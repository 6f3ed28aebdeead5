#!/usr/bin/env bash
# numba 0.68.1: a cached function that closes over another compiled function is compiled anew in every process.
#
# A good guess: with cache=True the second process loads what the first one compiled. It does for a function that closes
# over a number or a tuple, and for one that names another compiled function of its module. A function made inside
# another one, as kernels of several sizes are, that closes over a compiled function, never finds what it stored: the
# key has the closure's contents pickled, and a compiled function is pickled with an id that is new in each process.
# Nothing is said; the cache's folder grows by a file a process. Handing the number of the size in, and naming the
# inner function in the module, is found again.
#
# Output seen, of the second process:
#   closes over a number: hits 1, misses 0
#   names a function of the module: hits 1, misses 0
#   closes over a compiled function: hits 0, misses 1
#   files of it after three processes: 3
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3.11 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check numba==0.68.1 numpy==2.4.6
cd "$work"
cat > kernels.py <<'P'
from numba import njit


@njit
def twice(x):
    return 2 * x


def of_number(size):
    @njit(cache=True)
    def number(x):
        return x + size

    return number


def of_module(size):
    @njit(cache=True)
    def module(x):
        return twice(x) + size

    return module


def of_function(inner):
    @njit(cache=True)
    def function(x):
        return inner(x) + 1

    return function
P
cat > ask.py <<'P'
import kernels

for name, made in (
    ("closes over a number", kernels.of_number(3)),
    ("names a function of the module", kernels.of_module(3)),
    ("closes over a compiled function", kernels.of_function(kernels.twice)),
):
    made(1)
    hits, misses = (sum(count.values()) for count in (made.stats.cache_hits, made.stats.cache_misses))
    print(f"{name}: hits {hits}, misses {misses}")
P
export NUMBA_CACHE_DIR="$work/cache"
"$work/venv/bin/python" ask.py > /dev/null
"$work/venv/bin/python" ask.py | tee seen
"$work/venv/bin/python" ask.py > /dev/null
echo "files of it after three processes: $(find cache -name '*of_function*.nbc' | wc -l)" | tee -a seen
diff seen - <<'S'
closes over a number: hits 1, misses 0
names a function of the module: hits 1, misses 0
closes over a compiled function: hits 0, misses 1
files of it after three processes: 3
S
