"""A disk that is full: no file may grow beyond some size (RLIMIT_FSIZE). One line, the old stays, and it goes on later.

    python tests/bench/faults/full_disk.py [--seed N] [--seconds S] [--count N]
"""

import resource
import signal

from campaign import Table, arguments, checked, disturbed, fresh, held, scenes, turns, unclean, workplace


def main() -> None:
    asked, table = arguments(__doc__ or ""), Table()
    with workplace() as place:
        for dice, scene in turns(asked, scenes(place, asked)):
            root, size = fresh(scene, place), int(2 ** dice.uniform(4, 18))

            def small(size: int = size) -> None:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

            # a log that cannot be written is no matter of the command's
            full = disturbed(scene, root, 0, "SIGKILL", preexec_fn=small, env={"NUMBA_DISABLE_CACHING": "1"})

            def look(scene=scene, root=root, full=full) -> str | None:  # type: ignore[no-untyped-def]
                if problem := unclean(full):
                    return problem
                if scene.name != "build" and held(root) not in (scene.old, scene.new):
                    return "neither the old nor the new is there"
                again = disturbed(scene, root, 0, "SIGKILL")
                return None if held(root) == scene.new else f"the same command again: {again.stderr[-200:]}"

            table.count(scene.name, (problem := checked(look)) and f"{size} bytes: {problem}")
        table.finish()


if __name__ == "__main__":
    main()
