"""kill -9 before any step of a command; then the old or the new is there, and the same command again ends right.

    python tests/bench/faults/kill.py [--seed N] [--seconds S] [--count N] [--scenes delete]
"""

from campaign import Table, arguments, checked, disturbed, fresh, held, scenes, turns, workplace

NOT_TWICE = ("add", "delete", "compact", "add again", "delete again")


def main() -> None:
    asked, table = arguments(__doc__ or ""), Table()
    with workplace() as place:
        for dice, scene in turns(asked, scenes(place, asked)):
            root, step = fresh(scene, place), dice.randint(1, scene.steps)
            killed = disturbed(scene, root, step, "SIGKILL")

            def look(scene=scene, root=root, killed=killed) -> str | None:  # type: ignore[no-untyped-def]
                if killed.returncode != -9:
                    return f"was not killed: {killed.stderr[-200:]}"
                if scene.name != "build" and held(root) not in (scene.old, scene.new):
                    return "neither the old nor the new is there"
                again = disturbed(scene, root, 0, "SIGKILL")
                # what was done in full before the kill cannot be done twice: an added id is there, a deleted one is gone
                done_before = again.returncode == 1 and scene.name in NOT_TWICE and held(root) == scene.new
                if again.returncode and not done_before:
                    return f"the same command again: {again.stderr[-200:]}"
                if held(root) != scene.new:
                    return "the same command again ends in other bytes"
                left = sorted(path.name for path in root.iterdir())
                return None if left == ["out"] else f"beside it there is {left}"

            table.count(scene.name, (problem := checked(look)) and f"step {step}: {problem}")
        table.finish()


if __name__ == "__main__":
    main()
