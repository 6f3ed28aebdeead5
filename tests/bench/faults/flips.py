"""One bit turned over in a file of an index, of any kind, or of a build: `lotte check` finds it, `lotte search` is right.

    python tests/bench/faults/flips.py [--seed N] [--seconds S] [--count N] [--scenes bm25]

A search may end in one line, or answer as it did before; it never answers otherwise without a word, ends in a traceback
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
    """Return name, folder and answer of an index of every kind, and of a build."""
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
    return [*made, ("build", place / "build", None)]


if __name__ == "__main__":
    main()
