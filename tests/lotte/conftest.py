"""What several tests of this room are given."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from command import lotte
from file_server import Server
from made_dump import SITE
from sample_dumps import SAMPLE_WORDS


@pytest.fixture
def server():
    host = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            wanted, condition = self.headers.get("Range", ""), self.headers.get("If-Range", "")
            host.asked.append((self.path, wanted, condition))
            self.close_connection = True
            if host.status and (status := host.status.pop(0)) != 200:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.send_header("Retry-After", "7")
                self.end_headers()
                return
            if host.moved:
                self.send_response(302)
                self.send_header("Location", host.moved)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            content = host.files.get(self.path, host.content)
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
            if start and not host.ignores_range and condition == host.etag:
                if start >= len(content):
                    self.send_response(416)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_response(206)
                shown = start - 1 if host.wrong_part else start
                self.send_header("Content-Range", f"bytes {shown}-{len(content) - 1}/{len(content)}")
            else:
                start = 0
                self.send_response(200)
            body = content[start:]
            if not host.without_length:
                self.send_header("Content-Length", str(len(body) if host.length is None else host.length))
            self.send_header("ETag", host.etag)
            self.end_headers()
            cut = host.cut.pop(0) if host.cut else len(body)
            self.wfile.write(body[:cut])

        def log_message(self, *words):
            pass

    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    host.url = f"http://127.0.0.1:{served.server_port}/a/file.bin"
    yield host
    served.shutdown()
    served.server_close()
    thread.join()


@pytest.fixture
def place(tmp_path) -> Path:
    """A folder for dumps, with a spec of one community beside it."""
    (tmp_path / "spec.toml").write_text(f'[topics.food]\ntest = ["{SITE}"]\n')
    (tmp_path / "dumps").mkdir()
    return tmp_path


@pytest.fixture(scope="session")
def sample_build(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("built") / "out"
    done = lotte(*SAMPLE_WORDS, "--out", out, "--workers", 1)
    assert (done.returncode, done.stdout) == (0, f"{out}\n"), done.stderr
    return out
