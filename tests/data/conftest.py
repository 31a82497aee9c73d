"""A real HTTP server on this machine that misbehaves on request, and the corpora loaded once."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sgrnn.data import Corpus, load_texts


@dataclass
class Server:
    """Files to serve, how to misbehave, and what was asked for.

    `faults` are used up one per request: truncate, stall, corrupt, busy, wrong-range. `ranges` says whether
    ranges are honored; `redirects` maps one path to another.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    redirects: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    agents: set[str | None] = field(default_factory=set)
    released: threading.Event = field(default_factory=threading.Event)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        name = handler.path.lstrip("/")
        asked = handler.headers.get("Range")
        self.requests.append((name, asked))
        self.agents.add(handler.headers.get("User-Agent"))
        fault = self.faults.pop(0) if self.faults else ""
        if name in self.redirects:
            handler.send_response(302)
            handler.send_header("Location", self.redirects[name])
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        if fault == "busy" or name not in self.files:
            handler.send_error(503 if fault == "busy" else 404)
            return
        content = self.files[name]
        first = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.ranges else 0
        if first >= len(content) > 0:
            handler.send_error(416)
            return
        body = content[first:]
        handler.send_response(206 if first else 200)
        handler.send_header("Content-Length", str(len(body)))
        if first:
            shown = first + 1 if fault == "wrong-range" else first
            handler.send_header("Content-Range", f"bytes {shown}-{len(content) - 1}/{len(content)}")
        handler.end_headers()
        if fault == "corrupt":
            body = bytes([body[0] ^ 1]) + body[1:]
        handler.wfile.write(body[: len(body) // 2] if fault in ("truncate", "stall") else body)
        handler.wfile.flush()
        if fault == "stall":
            self.released.wait(20)


@pytest.fixture
def server() -> Iterator[Server]:
    """A server on 127.0.0.1 for one test."""
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.answer(self)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        state.url = f"http://127.0.0.1:{running.server_port}/"
        yield state
        state.released.set()
        running.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def ptb(ptb_folder: Path) -> Corpus:
    """The Penn Treebank, words."""
    return load_texts("ptb", ptb_folder)


@pytest.fixture(scope="session")
def ptb_char(ptb_folder: Path) -> Corpus:
    """The Penn Treebank, characters."""
    return load_texts("ptb-char", ptb_folder)
