"""SIGTERM and SIGINT before any step of a command: it ends in order, leaves nothing in the temporary folder, goes on.

    python tests/bench/faults/signals.py [--seed N] [--seconds S] [--count N] [--scenes bm25]
"""

from campaign import Table, arguments, checked, disturbed, fresh, held, scenes, turns, workplace

CODES = {"SIGTERM": 143, "SIGINT": 130}


def main() -> None:
    asked, table = arguments(__doc__ or ""), Table()
    with workplace() as place:
        scratch = place / "scratch"
        for dice, scene in turns(asked, scenes(place, asked)):
            root, step, name = fresh(scene, place), dice.randint(1, scene.steps), dice.choice(sorted(CODES))
            scratch.mkdir(exist_ok=True)
            ended = disturbed(scene, root, step, name, env={"TMPDIR": str(scratch)})

            def look(scene=scene, root=root, ended=ended, name=name) -> str | None:  # type: ignore[no-untyped-def]
                if "Traceback" in ended.stderr or ended.returncode not in (CODES[name], 0):
                    return f"exit {ended.returncode}: {ended.stderr[-200:]}"
                if left := sorted(path.name for path in scratch.iterdir()):
                    return f"left in the temporary folder: {left}"
                if scene.name != "build" and held(root) not in (scene.old, scene.new):
                    return "neither the old nor the new is there"
                again = disturbed(scene, root, 0, "SIGKILL")
                return None if held(root) == scene.new else f"the same command again: {again.stderr[-200:]}"

            table.count(f"{scene.name}, {name}", (problem := checked(look)) and f"step {step}: {problem}")
        table.finish()


if __name__ == "__main__":
    main()
