"""Two commands at once that write one index: each ends right or in one line, and what stands there is whole.

    python tests/bench/faults/writers.py [--seed N] [--seconds S] [--count N]
"""

import threading
import time

from campaign import Table, arguments, checked, fresh, held, lotte, scenes, turns, unclean, workplace


def main() -> None:
    asked, table = arguments(__doc__ or ""), Table()
    with workplace() as place:
        made = [scene for scene in scenes(place, asked) if scene.name != "build"]
        pairs = [(one, other) for one in made for other in made if one.before == other.before]
        for dice, (one, other) in turns(asked, dice_order(pairs, asked.seed)):
            root, ended = fresh(one, place), []

            def run(scene, wait, root=root, ended=ended) -> None:  # type: ignore[no-untyped-def]
                time.sleep(wait)
                ended.append(lotte([word.format(root=root) for word in scene.words]))

            waits = [0, dice.uniform(0, 0.3)]
            threads = [threading.Thread(target=run, args=pair) for pair in zip((one, other), waits, strict=True)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

            def look(root=root, ended=ended, one=one, other=other) -> str | None:  # type: ignore[no-untyped-def]
                if problem := next(filter(None, map(unclean, ended)), None):
                    return problem
                if all(done.returncode for done in ended):
                    return f"neither ended right: {ended[0].stderr[-100:]} {ended[1].stderr[-100:]}"
                held(root)  # raises if it is not whole
                for scene in (one, other) if any(done.returncode for done in ended) else ():
                    # a build that was refused at its end is kept beside, and done when it is asked for once more
                    if problem := unclean(lotte([word.format(root=root) for word in scene.words])):
                        return f"once more: {problem}"
                left = sorted(path.name for path in root.iterdir())
                return None if left == ["out"] else f"beside it there is {left}"

            table.count(f"{one.name} | {other.name}", checked(look))
        table.finish()


def dice_order(pairs: list, seed: int) -> list:  # type: ignore[type-arg]
    import random

    return random.Random(seed).sample(pairs, len(pairs))


if __name__ == "__main__":
    main()
