"""An HTTP server on this machine that fails on request, and the corpora loaded once."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sgrnn.data import Corpus, load_texts


@dataclass
class Server:
    """Files to serve and what was asked for; `faults` are used up one a request: truncate, stall, corrupt, busy."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    agents: set[str | None] = field(default_factory=set)
    released: threading.Event = field(default_factory=threading.Event)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        name = handler.path.lstrip("/")
        self.requests.append(name)
        self.agents.add(handler.headers.get("User-Agent"))
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "busy" or name not in self.files:
            handler.send_error(503 if fault == "busy" else 404)
            return
        body = self.files[name]
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        if name.endswith(".gz") and "gzip" in handler.headers.get("Accept-Encoding", ""):
            handler.send_header("Content-Encoding", "gzip")  # as some servers label files that are to stay packed
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
