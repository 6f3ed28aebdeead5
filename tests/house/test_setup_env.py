"""`make demo` and `make test` set themselves up: what they say first, what fails in one line, and that they go on."""

import ast
import base64
import hashlib
import http.server
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest
from places import HOUSE

SCRIPT = HOUSE / "tools" / "setup_env.py"
_spec = importlib.util.spec_from_file_location("setup_env", SCRIPT)
setup_env = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(setup_env)
HERE = {"version": sys.version_info[:3]}

PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "lotte-bench"
version = "0"
optional-dependencies = { colbert = ["one", "two", "small"], dev = ["small", "torch"] }
"""
BACKEND = """
import os, shutil
def build_editable(folder, *_):
    shutil.copy("lotte_bench-0-py3-none-any.whl", folder)
    return "lotte_bench-0-py3-none-any.whl"
"""


def wheel(folder: Path, name: str, version: str = "1.0", needs: tuple[str, ...] = (), extras: str = "") -> Path:
    path = folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{extras}"
    files = {
        f"{name.replace('-', '_')}.py": f"version = {version!r}\n",
        f"{info}/METADATA": metadata + "".join(f"Requires-Dist: {one}\n" for one in needs),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            record += f"{file},sha256={digest},{len(text)}\n"
        archive.writestr(f"{info}/RECORD", record + f"{info}/RECORD,,\n")
    return path


class Index:
    """A package index on this machine that can refuse, and cut what it sends."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.refuses, self.cuts, self.asked = folder, 0, "", []
        index = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                index.asked.append(self.path.rpartition("/")[2] or self.path)
                if index.refuses:
                    return self.send_error(index.refuses)
                if self.path.startswith("/simple/"):
                    name = self.path.split("/")[2].replace("-", "_")
                    files = [file.name for file in index.folder.glob(f"{name}-*.whl")]
                    body = "".join(f'<a href="/files/{file}">{file}</a>' for file in files).encode()
                else:
                    body = (index.folder / Path(self.path.replace("%2B", "+")).name).read_bytes()
                self.send_response(200)
                self.send_header(
                    "Content-Type", "text/html" if self.path.startswith("/simple/") else "binary/octet-stream"
                )
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(
                    body[:100] if index.cuts and index.cuts in self.path and "/files/" in self.path else body
                )

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/simple"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def files(self) -> list[str]:
        return sorted({one for one in self.asked if one.endswith(".whl")})


@pytest.fixture
def index(tmp_path):
    (tmp_path / "files").mkdir()
    made = Index(tmp_path / "files")
    for name in ("one", "two", "small"):
        wheel(made.folder, name)
    yield made
    made.server.shutdown()


@pytest.fixture(scope="session")
def empty_environment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    return folder


@pytest.fixture
def house(tmp_path, empty_environment):
    """A project with a lock of three packages, two of them large, and an environment in which nothing is installed."""
    house = tmp_path / "house"
    for folder in (house, house / "tools", house / "constraints"):
        folder.mkdir()
    shutil.copy(SCRIPT, house / "tools")
    (house / "pyproject.toml").write_text(PROJECT)
    (house / "backend.py").write_text(BACKEND)
    extras = "Provides-Extra: colbert\nProvides-Extra: dev\n"
    needs = [f"{one}; extra == 'colbert'" for one in ("one", "two", "small")]
    wheel(house, "lotte-bench", "0", (*needs, "small; extra == 'dev'", "torch; extra == 'dev'"), extras)
    (house / "constraints" / "demo.txt").write_text("one==1.0\ntwo==1.0\nsmall==1.0\n")
    (house / "constraints" / "test.txt").write_text("small==1.0\ntorch==2.0\nnvidia-x==1.0\n")
    rows = [
        ("one", "1.0", "20000"),
        ("two", "1.0", "30000"),
        ("small", "1.0", "10"),
        ("torch", "2.0", "40000"),
        ("nvidia-x", "1.0", "90000"),
    ]
    head = ("package", "version", setup_env.column(HERE))
    (house / "constraints" / "sizes.tsv").write_text("".join("\t".join(row) + "\n" for row in (head, *rows)))
    shutil.copytree(empty_environment, house / "venv", symlinks=True)
    return house


def setup(house: Path, group: str = "demo", *words: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    env = {key: value for key, value in os.environ.items() if not key.upper().startswith("PIP_")}
    env |= {"PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "0", "NO_PROXY": "127.0.0.1", **variables}
    command = [sys.executable, "tools/setup_env.py", group, "venv", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=house, env=env, timeout=300)


def error(done: "subprocess.CompletedProcess[str]") -> str:
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    return done.stderr.splitlines()[-1]


def test_it_runs_on_an_old_python():
    ast.parse(SCRIPT.read_text(), feature_version=(3, 6))


@pytest.mark.slow
def test_it_says_first_what_it_will_download(house, index):
    done = setup(house, PIP_INDEX_URL=index.url)
    assert done.stderr.splitlines() == [
        f"make demo: 3 packages to download, 50 MB; they go into {house / 'venv'}",
        "  1 of 3: one 1.0, 20 MB",
        "  2 of 3: two 1.0, 30 MB",
        "  3 of 3: this project, and 1 small packages",
    ]


@pytest.mark.slow
def test_what_is_there_is_not_downloaded_again(house, index):
    setup(house, PIP_INDEX_URL=index.url)
    index.asked.clear()
    done = setup(house, PIP_INDEX_URL=index.url)
    assert (done.returncode, done.stderr, index.files()) == (0, "", [])


@pytest.mark.slow
def test_after_a_cut_download_the_same_command_goes_on_where_it_was(house, index):
    index.cuts = "two"
    assert "a download was cut short" in error(setup(house, PIP_INDEX_URL=index.url))
    index.cuts = ""
    index.asked.clear()
    done = setup(house, PIP_INDEX_URL=index.url)
    assert done.stderr.startswith("make demo: 2 packages to download, 30 MB; 1 is there already")
    assert index.files() == ["small-1.0-py3-none-any.whl", "two-1.0-py3-none-any.whl"]


@pytest.mark.slow
@pytest.mark.parametrize("code", [401, 403, 500])
def test_an_index_that_refuses_is_one_line(house, index, code):
    index.refuses = code
    assert f"the package index refuses ({code})" in error(setup(house, PIP_INDEX_URL=index.url))


@pytest.mark.slow
def test_an_index_without_the_package_is_one_line(house, index):
    next(index.folder.glob("one-*")).unlink()
    assert "the package index has no one==1.0 for this Python" in error(setup(house, PIP_INDEX_URL=index.url))


@pytest.mark.slow
def test_no_answer_is_one_line(house, index):
    index.server.server_close()
    assert "no network, or the package index does not answer" in error(setup(house, PIP_INDEX_URL=index.url))


@pytest.mark.slow
def test_a_proxy_that_does_not_answer_is_one_line(house):
    done = setup(house, PIP_INDEX_URL="https://index.invalid/simple", HTTPS_PROXY="http://127.0.0.1:9", NO_PROXY="")
    assert "the proxy refuses" in error(done)


@pytest.mark.slow
def test_a_package_that_pip_was_stopped_in_is_installed_again(house, index):
    setup(house, PIP_INDEX_URL=index.url)
    (info,) = (house / "venv").glob("lib/*/site-packages/one-1.0.dist-info")
    (info / "INSTALLER").unlink()
    (info.parent / "one.py").unlink()
    done = setup(house, PIP_INDEX_URL=index.url)
    assert done.returncode == 0 and (info.parent / "one.py").exists(), done.stderr


@pytest.mark.slow
def test_an_environment_half_made_is_made_anew(house, index):
    shutil.rmtree(house / "venv" / "bin")
    done = setup(house, "demo", "--python", sys.executable, PIP_INDEX_URL=index.url)
    assert done.stderr.startswith(f"{house / 'venv'} is half made or its Python is gone: it is made anew\nmake demo: 3")
    assert done.returncode == 0


def test_a_folder_of_somebodys_is_not_removed(house):
    shutil.rmtree(house / "venv")
    (house / "venv").mkdir()
    (house / "venv" / "thesis.tex").write_text("")
    assert "is not a virtual environment: move it away" in error(setup(house))


@pytest.mark.slow
def test_the_cpu_build_of_torch_is_taken_where_it_is_offered(house, index):
    wheel(index.folder, "torch", "2.0", ("nvidia-x",))
    wheel(index.folder, "torch", "2.0+cpu")
    done = setup(house, "test", PIP_INDEX_URL=index.url)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("make test: 2 packages to download, 190 MB; they go into")
    assert "torch is 2.0+cpu, the CPU build" in done.stderr and "nvidia" not in str(index.asked)


@pytest.mark.slow
def test_torch_with_cuda_says_its_size_before_it_begins(house, index):
    wheel(index.folder, "torch", "2.0", ("nvidia-x",))
    wheel(index.folder, "nvidia-x")
    done = setup(house, "test", PIP_INDEX_URL=index.url)
    first, second, *_ = done.stderr.splitlines()
    assert first.startswith("make test: 3 packages to download, 130 MB;") and "most of it is torch with CUDA" in second
    assert done.returncode == 0


def python(folder: Path, name: str, version: str, **facts: object) -> None:
    """Put a program into a folder that answers as a Python of that version would."""
    numbers = list(map(int, version.split(".")))
    said = {
        "version": numbers,
        "program": str(folder / name),
        "implementation": "CPython",
        "bits": 64,
        "threads": False,
        "venv": True,
    }
    (folder / name).write_text(f"#!/bin/sh\necho '{json.dumps(said | facts)}'\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def path(tmp_path, monkeypatch):
    """A PATH of one empty folder, where the Python that runs this is not found."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}")
    which = shutil.which
    monkeypatch.setattr(setup_env.shutil, "which", lambda name: which(name, path=str(folder)))
    monkeypatch.setattr(setup_env, "ELSEWHERE", [])
    return folder


@pytest.mark.parametrize(
    ("name", "version", "facts", "message"),
    [
        ("python3", "3.8.18", {}, "is too old: it takes 3.11 to 3.14"),
        ("python3", "3.15.0", {}, "is too new: it takes 3.11 to 3.14"),
        ("python3.12", "3.12.1", {"venv": False}, "lacks venv (Debian and Ubuntu: apt install python3.12-venv)"),
        ("python3", "3.12.1", {"bits": 32}, "is a 32-bit build"),
        ("python3", "3.14.0", {"threads": True}, "is a free-threaded build"),
        ("python3", "3.11.13", {"implementation": "PyPy"}, "is PyPy"),
    ],
)
def test_a_python_that_will_not_do_is_one_line(path, name, version, facts, message):
    python(path, name, version, **facts)
    with pytest.raises(setup_env.Stop, match=r"PYTHON=/path/to/python3.12 names one") as stopped:
        setup_env.find("")
    assert message in str(stopped.value) and version in str(stopped.value)


def test_no_python_is_one_line(path):
    with pytest.raises(setup_env.Stop, match="no Python 3 is on PATH"):
        setup_env.find("")


def test_the_users_python3_comes_before_a_newer_one(path):
    python(path, "python3", "3.11.9")
    python(path, "python3.14", "3.14.0")
    assert setup_env.find("")["version"] == [3, 11, 9]


def test_the_newest_comes_after_a_python3_that_will_not_do(path):
    python(path, "python3", "3.9.1")
    python(path, "python3.12", "3.12.0")
    python(path, "python3.13", "3.13.0")
    assert setup_env.find("")["version"] == [3, 13, 0]


def test_a_program_that_does_not_run_is_passed_over(path):
    (path / "python3").write_text("#!/bin/sh\nexit 127\n")
    (path / "python3").chmod(0o755)
    python(path, "python3.12", "3.12.0")
    assert setup_env.find("")["version"] == [3, 12, 0]


def test_the_python_that_is_named_is_the_one(path):
    python(path, "python3", "3.11.9")
    python(path, "mine", "3.10.0")
    with pytest.raises(setup_env.Stop, match=r"3\.10\.0 .* is too old"):
        setup_env.find(str(path / "mine"))


def test_a_disk_without_room_is_told_before_anything_is_downloaded(monkeypatch, tmp_path):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(setup_env.shutil, "disk_usage", lambda _: usage(0, 0, 400_000_000))
    with pytest.raises(setup_env.Stop, match="needs about 700 MB, and 400 MB are free"):
        setup_env.announce("demo", tmp_path, {"big": ("1", 200_000)}, {"big": ("1", 200_000)}, "")


@pytest.mark.parametrize(
    ("code", "said", "meaning"),
    [
        (1, "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "the disk is full"),
        (1, "Failed to establish a new connection: [Errno -3] Temporary failure in name resolution", "no network"),
        (1, "WARNING: Retrying: 'ProxyError('Cannot connect to proxy.', OSError('Tunnel failed'))'", "the proxy refuses"),
        (1, "IncompleteRead(1234 bytes read, 5678 more expected)", "a download was cut short"),
        (1, "SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed", "certificate is not trusted here"),
        (1, "ERROR: Cannot install a and b because these package versions have conflicting dependencies.", "`make lock`"),
        (-9, "Collecting numpy", "it was killed (signal 9)"),
        (1, "Collecting numpy\nERROR: something that nobody foresaw\n", "ERROR: something that nobody foresaw; all of it is in"),
    ],
)  # fmt: skip
def test_what_pip_says_is_told_in_one_line(tmp_path, code, said, meaning):
    told = setup_env.explain("pip install", code, said, tmp_path)
    assert meaning in told and told.endswith("The same command goes on from here") and "\n" not in told
