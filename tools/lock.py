"""Resolve what `make demo` and `make test` install, for every Python and platform at once. `make lock` runs this.

Writes  constraints/GROUP.txt  one version a package, with markers where platforms or Pythons differ; for pip's -c
        constraints/sizes.tsv  kilobytes of the wheel that each platform and Python takes, for tools/setup_env.py

Versions that are locked stay while pyproject.toml allows them; --upgrade takes the newest. The demo is resolved first
and the tests with its versions, so that what the tests need never changes the demo.
"""

import argparse
import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Iterator
from pathlib import Path

HOUSE = Path(__file__).resolve().parent.parent
CONSTRAINTS = HOUSE / "constraints"
NEEDS = ["uv==0.13.9", "packaging==26.3"]  # another uv may write the same pins another way

GROUPS = {"demo": "colbert", "test": "dev"}  # file in constraints/ -> extra that it is for
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PLATFORMS = {  # column of sizes.tsv -> uv's name for it
    "linux-x86_64": "x86_64-manylinux_2_28",
    "linux-aarch64": "aarch64-manylinux_2_28",
    "macos-arm64": "aarch64-apple-darwin",
    "windows-x86_64": "x86_64-pc-windows-msvc",
}
MACOS = "14.0"  # the oldest that torch has wheels for
COMPILED = {"linux-aarch64": ["pytrec-eval-terrier"]}  # no wheel there: pip compiles it, which needs a C compiler

HEADER = "# Made by `make lock` from pyproject.toml, for `pip install -c {file} -e '.[{extra}]'`\n"

Pins = dict[str, str]  # package -> version


class ResolutionError(Exception):
    """What uv says when it finds no versions, or no index."""


def uv(*words: object) -> str:
    """Run uv as on a stranger's machine: no configuration of pip's or uv's, no local wheels. Returns what it prints."""
    program = Path(sysconfig.get_path("scripts")) / "uv"
    env = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "UV_"))}
    env |= {"UV_NO_CONFIG": "1", "UV_PYTHON_DOWNLOADS": "never", "MACOSX_DEPLOYMENT_TARGET": MACOS}
    command = [str(program), *map(str, words), "--python", sys.executable, "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=HOUSE)
    if done.returncode:
        raise ResolutionError(done.stderr.strip())
    return done.stdout


def resolve(folder: Path, *, upgrade: bool = False) -> None:
    """Write FOLDER/GROUP.txt for each group; versions that stand there already are kept where they can be."""
    given: list[object] = []
    for group, extra in GROUPS.items():
        words = ["pyproject.toml", "--extra", extra, *given, "--universal", "--python-version", PYTHONS[0]]
        words += ["--no-annotate", "--no-header", "--output-file", folder / f"{group}.txt"]
        uv("pip", "compile", *words, *(["--upgrade"] if upgrade else []))
        file = folder / f"{group}.txt"
        file.write_text(HEADER.format(file=f"constraints/{file.name}", extra=extra) + file.read_text())
        given = ["--constraints", file]


def installed(group: str, platform: str, python: str, folder: Path = CONSTRAINTS) -> Pins:
    """Return what pip would install there with the constraints of the group, from wheels alone.

    Raises  ResolutionError if that cannot be, or a wheel is missing
    """
    words = ["pyproject.toml", "--extra", GROUPS[group], "--constraints", folder / f"{group}.txt"]
    words += ["--python-platform", PLATFORMS[platform], "--python-version", python, "--only-binary", ":all:"]
    for name in COMPILED.get(platform, ()):
        words += ["--no-binary", name]
    return dict(pins(uv("pip", "compile", *words, "--no-annotate", "--no-header")))


def pins(text: str) -> Iterator[tuple[str, str]]:
    """Yield package and version of each line of a constraints file; a package may have several."""
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        name, _, version = line.partition(";")[0].strip().partition("==")
        yield name, version


def write_sizes(folder: Path) -> None:
    """Write FOLDER/sizes.tsv: a row for each package and version, a column for each platform and Python."""
    with tempfile.TemporaryDirectory() as scratch:
        lock = Path(scratch) / "pylock.toml"
        words = ["pyproject.toml", "--universal", "--python-version", PYTHONS[0], "--output-file", lock]
        words += ["--extra", GROUPS["test"], "--constraints", folder / "test.txt"]
        uv("pip", "compile", *words)
        import tomllib  # new in 3.11

        packages = tomllib.loads(lock.read_text())["packages"]
    files = {
        (one["name"], one["version"]): one.get("wheels", []) + ([one["sdist"]] if "sdist" in one else [])
        for one in packages
    }
    rows: dict[tuple[str, str], list[str]] = {}
    columns = [(platform, python) for platform in PLATFORMS for python in PYTHONS]
    for column, (platform, python) in enumerate(columns):
        # soupsieve has another version for the first releases of 3.11; the table is of the others
        for pin in installed("test", platform, f"{python}.9", folder).items():
            row = rows.setdefault(pin, [""] * len(columns))
            row[column] = str(-(-_size(files[pin], platform, python) // 1000))
    lines = ["\t".join(["package", "version", *(f"{platform}-{python}" for platform, python in columns)])]
    lines += ["\t".join([*pin, *row]) for pin, row in sorted(rows.items())]
    (folder / "sizes.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _size(files: list[dict[str, object]], platform: str, python: str) -> int:
    """Return the bytes of the file that pip would take: the wheel with the best tag, else the source."""
    from packaging.tags import compatible_tags, cpython_tags, mac_platforms
    from packaging.utils import parse_wheel_filename

    if platform.startswith("linux"):
        machine = platform.partition("-")[2]
        platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(28, 4, -1)] + [f"linux_{machine}"]
        platforms += [f"manylinux{year}_{machine}" for year in ("2014", "2010", "1")]
    elif platform.startswith("macos"):
        platforms = list(mac_platforms((int(MACOS.partition(".")[0]), 0), "arm64"))
    else:
        platforms = ["win_amd64"]
    version = tuple(map(int, python.split(".")))
    ranked = [*cpython_tags(version, platforms=platforms), *compatible_tags(version, platforms=platforms)]
    rank = {tag: place for place, tag in enumerate(ranked)}

    def place(file: dict[str, object]) -> int:
        name = str(file.get("name") or str(file["url"]).rpartition("/")[2])
        if not name.endswith(".whl"):
            return len(ranked)
        return min((rank[tag] for tag in parse_wheel_filename(name)[3] if tag in rank), default=len(ranked) + 1)

    return int(str(min(files, key=place)["size"]))


def main() -> None:
    parser = argparse.ArgumentParser(description="Resolve constraints/*.txt for every Python and platform.")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions that pyproject.toml allows")
    parser.add_argument("--environment", type=Path, required=True, help="where uv is, or is to be installed")
    asked = parser.parse_args()
    if sys.version_info < (3, 11):  # noqa: UP036
        sys.exit("error: `make lock` needs Python 3.11 or newer; PYTHON=/path/to/python3.12 names one")
    if Path(sys.prefix).resolve() != asked.environment.resolve():
        venv.create(asked.environment, with_pip=True, clear=True)
        scripts = sysconfig.get_path("scripts", "venv", vars={"base": str(asked.environment)})
        python = str(Path(scripts) / "python")
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *NEEDS], check=True)
        raise SystemExit(subprocess.run([python, __file__, *sys.argv[1:]]).returncode)
    try:
        resolve(CONSTRAINTS, upgrade=asked.upgrade)
        write_sizes(CONSTRAINTS)
    except ResolutionError as error:
        sys.exit("error: " + " ".join(str(error).split()))


if __name__ == "__main__":
    main()
