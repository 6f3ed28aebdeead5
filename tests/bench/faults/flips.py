"""One bit turned over in an index of any kind, a build, a checkpoint, a training's state, or a record with its run.

    python tests/bench/faults/flips.py [--seed N] [--seconds S] [--count N] [--scenes bm25]

`lotte check` finds it. A search may end in one line, or answer as it did before; it never answers otherwise without a word, ends in a traceback
or by a signal.
"""

import shutil

from campaign import SAMPLE, Table, arguments, checked, collection, lotte, turns, unclean, workplace

QUESTION = "how to clean a telescope in the garden"


def main() -> None:
    asked, table = arguments(__doc__ or ""), Table()
    with workplace() as place:
        made = [one for one in whole(place) if one[0].startswith(asked.scenes)]
        for dice, (name, folder, answer) in turns(asked, made):
            shutil.rmtree(place / "copy", ignore_errors=True)
            shutil.copytree(folder, place / "copy")
            files = sorted(path for path in (place / "copy").rglob("*") if path.is_file() and path.stat().st_size)
            path = dice.choice(files)
            content = bytearray(path.read_bytes())
            place_of, bit = dice.randrange(len(content)), dice.randrange(8)
            content[place_of] ^= 1 << bit
            path.write_bytes(content)

            def look(answer=answer) -> str | None:  # type: ignore[no-untyped-def]
                check = lotte(["check", str(place / "copy")])
                if check.returncode != 1 or unclean(check):
                    return f"lotte check: exit {check.returncode}, {check.stderr[-200:]}"
                if answer is None:
                    return None
                found = lotte(["search", str(place / "copy"), QUESTION])
                if problem := unclean(found):
                    return f"lotte search: {problem}"
                return None if found.returncode or found.stdout == answer else "lotte search answers otherwise"

            problem = checked(look)
            table.count(name, problem and f"{path.relative_to(place / 'copy')} byte {place_of} bit {bit}: {problem}")
        table.finish()


def whole(place):  # type: ignore[no-untyped-def]
    """Return name, folder and answer of an index of every kind, and of what else `lotte check` takes."""
    import tiny_checkpoint

    checkpoint, docs = tiny_checkpoint.write(place / "checkpoint"), collection(place / "docs", 80, 0)
    (place / "add.tsv").write_text("mine\twater the plant in the garden\n")
    made = []
    for name in ("bm25", "overlap", "rank_bm25", "colbertv2"):
        more = ["-o", f"checkpoint={checkpoint}"] if name == "colbertv2" else []
        folder = place / name
        for words in [["index", str(docs), "--retriever", name, *more, "--out", str(folder)]] + (
            [["index", "--out", str(folder), "--delete", "3", "--add", str(place / "add.tsv")]] if more else []
        ):
            done = lotte(words)
            assert done.returncode == 0, done.stderr
        made.append((name, folder, lotte(["search", str(folder), QUESTION]).stdout))
    build = ["build", "--dumps", str(SAMPLE / "dumps"), "--spec", str(SAMPLE / "spec.toml"), "--workers", "1"]
    done = lotte([*build, "--out", str(place / "build")])
    assert done.returncode == 0, done.stderr
    shutil.rmtree(place / "build" / ".work", ignore_errors=True)
    made += [("build", place / "build", None), ("checkpoint", trained(place, checkpoint), None)]
    made += [("records", evaluated(place), None), ("state", state(place), None)]
    return made


def trained(place, source):  # type: ignore[no-untyped-def]
    """Return a checkpoint as a training writes it, with further files."""
    import trained_checkpoint

    more = {"training": {"data": [{"name": "x"}]}, "extra": {"more.npz": b"more"}}
    return trained_checkpoint.write(place / "trained", **trained_checkpoint.parts(source) | more)


def state(place):  # type: ignore[no-untyped-def]
    """Return what a training that was stopped goes on from."""
    import toy_training

    toy_training.train(place / "toy" / "run", steps=2)
    return place / "toy" / "run" / "state-2"


def evaluated(place):  # type: ignore[no-untyped-def]
    """Return a folder of results: two records, each with its run."""
    (place / "docs" / "queries.test.tsv").write_text("0\twater the plant\n1\tbread oven\n")
    (place / "docs" / "qrels.test.tsv").write_text("0\t0\t3\t1\n1\t0\t5\t1\n")
    for name in ("bm25", "overlap"):
        done = lotte(["eval", str(place / "docs"), "--retriever", name, "--out", str(place / "results")])
        assert done.returncode == 0, done.stderr
    return place / "results"


if __name__ == "__main__":
    main()
