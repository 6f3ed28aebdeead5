"""Set up what `make demo` or `make test` runs in: find a Python, make a virtual environment, install what is locked.

    python3 tools/setup_env.py demo .venv [--python python3.12]

Says first what it will download. What fails is one line, and the same command goes on where it was: large packages are
installed one by one, and what is installed stays. Runs on any Python from 3.6, so that an old one hears what is needed.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HOUSE = Path(__file__).resolve().parent.parent
CONSTRAINTS = HOUSE / "constraints"
EXTRAS = {"demo": "colbert", "test": "dev"}  # as in tools/lock.py, which no Python before 3.11 can import
OLDEST, NEWEST = (3, 11), (3, 14)  # what the constraints are for: numba, pyarrow and torch have wheels for these
RANGE = "3.11 to 3.14"
ELSEWHERE = ["/usr/bin/python3", sys.executable]  # tried where none on PATH will do
LARGE = 10000  # kB from which a package is installed in a step of its own
CUDA = ("nvidia-", "cuda-")  # what torch brings along on Linux, and its CPU build does not
UNPACKED, CUDA_UNPACKED = 3.5, 1.4  # times its download is what a package takes on disk

PROBE = """
import importlib.util, json, platform, sys, sysconfig
print(json.dumps({
    "version": sys.version_info[:3], "program": sys.executable, "implementation": platform.python_implementation(),
    "bits": 64 if sys.maxsize > 2**32 else 32, "threads": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    "venv": all(map(importlib.util.find_spec, ("venv", "ensurepip"))),
}))
"""

# what pip, or Python under it, says -> what that means. The first that is found counts
FAILURES = [
    (r"No space left on device|not enough space on the disk|Disk quota exceeded",
     "the disk is full: make room (also under {tmp})"),
    (r"ProxyError|Cannot connect to proxy|407 Proxy Authentication",
     "the proxy refuses: HTTPS_PROXY, or `proxy` in pip's configuration, says which it is"),
    (r"CERTIFICATE_VERIFY_FAILED|SSLCertVerificationError",
     "the index's certificate is not trusted here: PIP_CERT names a file with your network's own"),
    (r"IncompleteRead|ConnectionBroken|Connection broken|ConnectionResetError|Connection aborted|Read timed out"
     r"|ReadTimeoutError|BadZipFile|not a zip file|has an invalid wheel|incomplete-download|DO NOT MATCH THE HASHES",
     "a download was cut short"),
    (r"(?:HTTP error (?P<a>40[13]|429|5\d\d)|(?P<b>40[13]|429|5\d\d) (?:Client|Server) Error)"
     r"|(?P<c>50[0234]) error responses",
     "the package index refuses ({code}); `pip config list` shows which index that is"),
    (r"NewConnectionError|Failed to establish a new connection|name resolution|getaddrinfo failed|nodename nor servname"
     r"|Network is unreachable|ConnectTimeoutError|Connection refused|Max retries exceeded",
     "no network, or the package index does not answer; PIP_INDEX_URL names another"),
    (r"have conflicting dependencies",
     "pyproject.toml and constraints/ disagree: `make lock` resolves again"),
    (r"No matching distribution found for (?P<a>\S+)",
     "the package index has no {code} for this Python and machine"),
    (r"error: command '?\S*(?:gcc|cc|clang|cl)\S*'? failed|Microsoft Visual C\+\+",
     "a package has no wheel here and needs a C compiler (Debian, Ubuntu: apt install build-essential python3-dev)"),
    (r"ensurepip is not available|No module named '?(?:ensurepip|venv)",
     "this Python lacks venv (Debian and Ubuntu: apt install python3-venv)"),
    (r"Permission denied|Read-only file system|Access is denied", "a file may not be written"),
]  # fmt: skip


class Stop(Exception):
    """What went wrong and what to do, in one line."""


def say(line):
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def run(command, env=None):
    """Return exit code and everything that a command prints."""
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, cwd=str(HOUSE))
    except OSError as error:
        return 127, str(error)
    said = process.communicate()[0].decode("utf-8", "replace")
    return process.returncode, said


def probe(python):
    """Return what a Python is, or None if it does not run. pyenv's shims are there for versions that are not."""
    code, said = run([python, "-c", PROBE])
    try:
        return json.loads(said.splitlines()[-1]) if code == 0 else None
    except (ValueError, IndexError):
        return None


def name(python):
    return "Python {} ({})".format(".".join(map(str, python["version"])), python["program"])


def unfit(python):
    """Return what keeps a Python from being used, or None."""
    version = tuple(python["version"][:2])
    if version < OLDEST:
        return "is too old: it takes " + RANGE
    if version > NEWEST:
        return "is too new: it takes " + RANGE
    if python["implementation"] != "CPython":
        return "is {}: it takes CPython".format(python["implementation"])
    if python["bits"] != 64:
        return "is a 32-bit build, for which numba and pyarrow have no wheels: it takes a 64-bit one"
    if python["threads"]:
        return "is a free-threaded build, which was not tried: it takes the ordinary one"
    if not python["venv"]:
        return "lacks venv (Debian and Ubuntu: apt install python{}.{}-venv)".format(*version)
    return None


def find(asked):
    """Return the Python to use: the one asked for, else python3 if it will do, else the newest that will."""
    if asked:
        python = probe(asked)
        if python is None:
            raise Stop(f"PYTHON={asked}: no Python 3 runs there")
        if unfit(python):
            raise Stop(f"{name(python)} {unfit(python)}")
        return python
    names = ["python3"] + [f"python3.{minor}" for minor in range(NEWEST[1], OLDEST[1] - 1, -1)] + ["python"]
    paths = [shutil.which(one) for one in names] + ELSEWHERE
    seen = [python for python in map(probe, dict.fromkeys(filter(None, paths))) if python]
    for python in seen:
        if not unfit(python):
            return python
    # of those that will not do, the one that lacks least
    seen.sort(key=lambda python: (OLDEST <= tuple(python["version"][:2]) <= NEWEST, python["version"]))
    found = f"{name(seen[-1])} {unfit(seen[-1])}" if seen else "no Python 3 is on PATH"
    raise Stop(found + "; PYTHON=/path/to/python3.12 names one that is not on PATH")


def interpreter(folder):
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def whole(folder):
    """Return what the environment's Python is, or None if it or its pip does not run."""
    python = probe(str(interpreter(folder)))
    return python if python and run([str(interpreter(folder)), "-m", "pip", "--version"])[0] == 0 else None


def make_environment(folder, asked):
    """Make the virtual environment, or make it anew if it was left half made. Returns its Python."""
    there = whole(folder)
    if there:
        fault = unfit(dict(there, venv=True))
        wanted = find(asked)["version"] if asked else there["version"]
        if fault or wanted[:2] != there["version"][:2]:
            fault = fault or f"is not the one that PYTHON={asked} names"
            raise Stop(f"{name(there)} {fault}; `make clean` removes {folder}")
        return there
    python = find(asked)
    if os.path.lexists(str(folder)):
        names = {one.name for one in folder.iterdir()} if folder.is_dir() else {""}
        if "pyvenv.cfg" not in names and names - {"bin", "lib", "lib64", "include", "Scripts", "Lib", "Include"}:
            raise Stop(f"{folder} exists and is not a virtual environment: move it away, or say VENV=another")
        say(f"{folder} is half made or its Python is gone: it is made anew")
        shutil.rmtree(str(folder))
    code, said = run([python["program"], "-m", "venv", str(folder)])
    if code:
        raise Stop(explain("{} -m venv {}".format(python["program"], folder), code, said, folder))
    there = whole(folder)
    if not there:
        raise Stop(f"{folder} was made, and its pip does not run: {last(said)}")
    return there


def column(python):
    """Return the column of sizes.tsv that this machine and Python have, whether or not the table has one."""
    system = {"linux": "linux", "darwin": "macos", "win32": "windows"}.get(sys.platform, sys.platform)
    machine = os.environ.get("PROCESSOR_ARCHITECTURE", "") if os.name == "nt" else os.uname().machine
    machine = {"AMD64": "x86_64"}.get(machine, machine)
    return "{}-{}-{}.{}".format(system, machine, *python["version"][:2])


def locked(group, python):
    """Return {package: (version, kB of its download)} for this machine; nothing where the table has no column."""
    names = {package for package, _ in pins(group)}
    lines = (CONSTRAINTS / "sizes.tsv").read_text(encoding="utf-8").splitlines()
    head, rows = lines[0].split("\t"), [line.split("\t") for line in lines[1:]]
    if column(python) not in head:
        return {}
    place = head.index(column(python))
    return {row[0]: (row[1], int(row[place])) for row in rows if row[0] in names and row[place]}


def pins(group):
    """Return (package, version) of each line of a lock; a package has several where Pythons or platforms differ."""
    text = (CONSTRAINTS / (group + ".txt")).read_text(encoding="utf-8")
    return {tuple(line.partition(";")[0].strip().split("==")) for line in text.splitlines() if "==" in line}


def present(folder):
    """Return {package: version} of what is installed, and forget what pip was stopped half-way through."""
    found = {}
    for info in folder.glob("Lib/site-packages/*.dist-info" if os.name == "nt" else "lib/*/site-packages/*.dist-info"):
        if not (info / "INSTALLER").exists():  # pip writes it after all else
            shutil.rmtree(str(info))
            continue
        package, _, version = info.name[: -len(".dist-info")].partition("-")
        found[re.sub(r"[-_.]+", "-", package).lower()] = version
    return found


def cpu_torch(python, version):
    """Return the CPU build of torch that the indexes and folders of pip's configuration offer, "" if none does."""
    code, said = run([python, "-m", "pip", "index", "versions", "torch"])
    return version + "+cpu" if code == 0 and re.search(re.escape(version) + r"\+cpu\b", said) else ""


def install(group, folder, python):
    """Install what is locked, large packages first and each in a step of its own."""
    program, there, packages = str(interpreter(folder)), present(folder), locked(group, python)
    right = {one for one, version in there.items() if (one, version.partition("+")[0]) in pins(group)}
    cpu = cpu_torch(program, packages["torch"][0]) if "torch" in packages.keys() - right else ""
    if cpu:
        packages["torch"] = (cpu, 190000)
    if cpu or "+cpu" in there.get("torch", ""):
        packages = {one: pin for one, pin in packages.items() if not one.startswith(CUDA)}
    missing = {one: pin for one, pin in packages.items() if one not in right}
    announce(group, folder, packages, missing, cpu)
    steps = sorted((size, one, version) for one, (version, size) in missing.items() if size >= LARGE)
    for number, (size, one, version) in enumerate(steps, start=1):
        say(f"  {number} of {len(steps) + 1}: {one} {version}, {round(size / 1000)} MB")
        pip(folder, ["--no-deps", f"{one}=={version}"])
    if missing and packages:
        rest = len(missing) - len(steps)
        say("  {0} of {0}: this project, and {1} small packages".format(len(steps) + 1, rest))
    pip(folder, ["-c", str(CONSTRAINTS / (group + ".txt")), "-e", f".[{EXTRAS[group]}]"])


def announce(group, folder, packages, missing, cpu):
    """Say what will be downloaded, and stop if the disk cannot hold it."""
    if not packages:
        say(f"constraints/sizes.tsv has no column for this machine: what make {group} downloads is not known")
        return
    download = sum(size for _, size in missing.values())
    there = len(packages) - len(missing)
    if missing:
        count = f"{len(missing)} package{'s' if len(missing) > 1 else ''}"
        line = f"make {group}: {count} to download, {round(download / 1000)} MB"
        line += f"; {there} {'is' if there == 1 else 'are'} there already" if there else ""
        say(line + f"; they go into {folder}")
        if cpu:
            say(f"  torch is {cpu}, the CPU build that pip's configuration offers here")
        elif any(one.startswith(CUDA) for one in missing):
            say("  most of it is torch with CUDA, as the public index has it; an index or folder with the CPU build is "
                "taken where PIP_EXTRA_INDEX_URL or PIP_FIND_LINKS names one")  # fmt: skip
    needed = sum(size * (CUDA_UNPACKED if one.startswith(CUDA) else UNPACKED) for one, (_, size) in missing.items())
    room(folder, round(needed / 1000), "VENV=/another/folder holds it elsewhere")
    largest = max([size for _, size in missing.values()] or [0])
    room(Path(tempfile.gettempdir()), round(largest / 1000), "TMPDIR names another folder for downloads")


def room(folder, needed, instead):
    """Stop if the disk of a folder has less room than that many MB."""
    free = shutil.disk_usage(str(folder)).free // 1000000
    if needed > free:
        raise Stop(f"{folder} needs about {needed} MB, and {free} MB are free: make room, or {instead}")


def pip(folder, words):
    """Run pip in the environment. Bytecode is made when it is needed, so what is never imported has none."""
    log = folder / "setup.log"
    if log.exists():
        log.unlink()
    env = dict(os.environ, PIP_DISABLE_PIP_VERSION_CHECK="1", PYTHONIOENCODING="utf-8")
    command = [str(interpreter(folder)), "-m", "pip", "install", "--no-input", "--no-compile", "--progress-bar", "off"]
    if "PIP_CACHE_DIR" not in os.environ:
        command.append("--no-cache-dir")  # else everything would lie on the disk twice
    # at the usual level pip says nothing of an index that refuses; its log does
    code, said = run([*command, "--log", str(log), *words], env)
    if code:
        said = log.read_text(encoding="utf-8", errors="replace") + said if log.exists() else said
        raise Stop(explain("pip install", code, said, folder))


def explain(command, code, said, folder):
    """Return what a failed command's output means, in one line."""
    meaning = f"{last(said)}; all of it is in {folder / 'setup.log'}"
    if code < 0 or code in (137, 143):
        meaning = f"it was killed (signal {abs(code) % 128}); a system that runs out of memory does that"
    for pattern, text in FAILURES if code > 0 else ():
        found = re.search(pattern, said)
        if found:
            detail = next(filter(None, found.groupdict().values()), "")
            meaning = text.format(code=detail, tmp=tempfile.gettempdir())
            break
    return f"{command}: {meaning}. The same command goes on from here"


def last(said):
    """Return the last line that is an error, else the last line."""
    lines = [line.strip() for line in said.splitlines() if line.strip()] or ["it said nothing"]
    return ([line for line in lines if re.match(r"(?i)error\b", line)] or lines)[-1]


def main():
    parser = argparse.ArgumentParser(description="Set up the environment of `make demo` or `make test`.")
    parser.add_argument("group", choices=sorted(EXTRAS))
    parser.add_argument("folder", help="the virtual environment")
    parser.add_argument("--python", default="", help="default: python3 if it will do, else the newest")
    asked = parser.parse_args()
    folder = Path(os.path.abspath(asked.folder))
    try:
        install(asked.group, folder, make_environment(folder, asked.python))
    except Stop as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {error.filename or folder}: {error.strerror}")
    except KeyboardInterrupt:
        sys.exit("interrupted; the same command goes on from here")


if __name__ == "__main__":
    main()
