"""What opening an index takes, and how much of it looks whether the index is what was written. The goal is 2 %.

    python tests/bench/bench_opening.py [INDEX]...

Without an index, those of 50 documents that are made here: a file of theirs is small, so all of them are read.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

HOUSE = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(HOUSE), str(HOUSE / "tests" / "helpers")]

from lotte import artifact  # noqa: E402
from lotte.collection import Collection  # noqa: E402
from retrievers import index_folder, index_meta, registry  # noqa: E402

ROUNDS = 1000


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        paths = [Path(name) for name in sys.argv[1:]] or small(Path(place))
        print("index\tMB\tms to open\tms without looking\tms that looking takes\tshare")
        for path in paths:
            found = index_folder.read(path)
            system = registry.recorded(found.meta["recipe"], path / "meta.json")
            text = (path / "meta.json").read_bytes()

            def look(path: Path = path, text: bytes = text, meta: object = found.meta) -> None:
                artifact.is_sealed(text, meta["digest"])  # type: ignore[index]
                index_meta.check_small(path, meta)  # type: ignore[arg-type]

            def opened(path: Path = path, system: object = system) -> None:
                system.open(path)  # type: ignore[attr-defined]

            looking, opening = typical(look), typical(opened)
            kept = artifact.is_sealed, index_meta.check_small
            artifact.is_sealed, index_meta.check_small = lambda text, digest: True, lambda path, meta: None
            without = typical(opened)
            artifact.is_sealed, index_meta.check_small = kept
            size = sum(file.stat().st_size for file in path.iterdir()) / 1e6
            print(
                f"{path.name}\t{size:.1f}\t{1e3 * opening:.3f}\t{1e3 * without:.3f}\t{1e3 * looking:.3f}"
                f"\t{looking / opening:.1%}"
            )


def typical(do: Callable[[], None]) -> float:
    """Return the seconds that a call takes when nothing else runs: the tenth of a hundred, in order."""
    do()
    seconds = []
    for _ in range(ROUNDS):
        start = perf_counter()
        do()
        seconds.append(perf_counter() - start)
    return sorted(seconds)[ROUNDS // 10]


def small(place: Path) -> list[Path]:
    import tiny_checkpoint

    texts = [f"{row}\t{tiny_checkpoint.WORDS[row]} {tiny_checkpoint.WORDS[row + 1]}\n" for row in range(50)]
    (place / "collection.tsv").write_text("".join(texts))
    corpus, checkpoint = Collection(place / "collection.tsv"), tiny_checkpoint.write(place / "checkpoint")
    for name, options in (("bm25", []), ("overlap", []), ("colbertv2", [f"checkpoint={checkpoint}"])):
        registry.load(name, options).index(corpus, place / f"small {name}")
    return sorted(place.glob("small *"))


if __name__ == "__main__":
    main()
