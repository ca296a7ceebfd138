"""An object store on this machine, and a network before it that loses a share of what passes."""

from __future__ import annotations

import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from urllib.request import Request, urlopen

KEYS: Mapping[str, str] = {"AWS_ACCESS_KEY_ID": "AKIATINYS3", "AWS_SECRET_ACCESS_KEY": "tiny/s3+secret"}
BUCKET = "results"
FAULTS = ("busy", "broken", "dropped", "lost", "cut", "late")
"""503 and 500 instead of an answer; a connection that ends before the request was executed, or after it; half of an
answer; an answer that is late."""
LATE_SECONDS = 0.3
START_SECONDS = 120.0
HOP_BY_HOP = ("connection", "keep-alive", "transfer-encoding", "content-length", "expect")


def root(port: int, folder: str, bucket: str = BUCKET) -> str:
    """Return the URI of a root in the store that listens on a port of this machine."""
    return f"s3://{bucket}/{folder}?endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"


@contextmanager
def server() -> Iterator[int]:
    """Run an S3 server with one bucket as a process of its own; yields its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _make_bucket(port, process)
        yield port
    finally:
        process.kill()
        process.wait()


def _make_bucket(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        assert process.poll() is None
        try:
            return urlopen(Request(f"http://127.0.0.1:{port}/{BUCKET}", method="PUT"), timeout=10).close()
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


@dataclass(frozen=True)
class Asked:
    """A request that passed: what was asked of which key, and what was done to it, if anything."""

    method: str
    key: str
    fault: str | None

    @property
    def is_listing(self) -> bool:
        """Whether it asks for keys that begin so, not for an object."""
        return self.method == "LIST"


class Network:
    """What stands between the harness and the server on port `behind`: it does something to `share` of the requests.

    `faults` are drawn by a seeded generator. While it is `stopped`, nothing listens; while `silent`, nothing answers.
    """

    def __init__(self, behind: int, share: float = 0.0, faults: tuple[str, ...] = FAULTS, seed: int = 0) -> None:
        self.share = share
        self.asked: list[Asked] = []
        self.silent = threading.Event()
        self.before: Callable[[Asked], object] = lambda asked: None  # each request passes
        self.behind, self._faults, self._random = behind, faults, random.Random(seed)
        self._one_at_a_time = threading.Lock()
        self._ended = threading.Event()
        self.port = 0
        self.start()

    @property
    def injected(self) -> int:
        """How many requests something was done to."""
        return sum(one.fault is not None for one in self.asked)

    def start(self) -> None:
        """Listen, on the same port as before."""
        self._listener = _Listener(("127.0.0.1", self.port), _Handler)
        self._listener.network = self
        self.port = self._listener.server_port
        threading.Thread(target=self._listener.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Listen no more: who connects is refused, and what was connected ends."""
        self._listener.shutdown()
        self._listener.server_close()
        self._listener.hang_up()

    def close(self) -> None:
        """End for good."""
        self._ended.set()
        self.silent.clear()
        with suppress(OSError):
            self.stop()

    def fate(self, method: str, path: str) -> str | None:
        """Note a request and return what is to be done to it."""
        parts = urlsplit(path)
        key = unquote(parts.path).removeprefix(f"/{BUCKET}").lstrip("/")
        if method == "GET" and not key:
            method, key = "LIST", parse_qs(parts.query).get("prefix", [""])[0]
        with self._one_at_a_time:
            fault = self._random.choice(self._faults) if self._random.random() < self.share else None
            asked = Asked(method, key, fault)
            self.asked.append(asked)
        self.before(asked)
        return fault

    def keep_silent(self) -> None:
        """Answer nothing as long as the network is silent."""
        while self.silent.is_set():
            self._ended.wait(0.05)

    def forward(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[HTTPResponse, bytes]:
        """Return the server's answer and its body."""
        connection = HTTPConnection("127.0.0.1", self.behind, timeout=60)
        try:
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            return answer, answer.read()
        finally:
            connection.close()


@contextmanager
def network(behind: int, share: float = 0.0, faults: tuple[str, ...] = FAULTS, seed: int = 0) -> Iterator[Network]:
    """Put a network before the server on a port, as long as the block lasts."""
    between = Network(behind, share, faults, seed)
    try:
        yield between
    finally:
        between.close()


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    network: Network

    def __init__(self, *arguments: object) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(*arguments)  # type: ignore[arg-type]

    def process_request(self, request: object, client_address: object) -> None:
        self._open.add(request)  # type: ignore[arg-type]
        super().process_request(request, client_address)  # type: ignore[arg-type]

    def shutdown_request(self, request: object) -> None:
        self._open.discard(request)  # type: ignore[arg-type]
        super().shutdown_request(request)  # type: ignore[arg-type]

    def hang_up(self) -> None:
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # whoever asked has hung up


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Listener

    def log_message(self, *_: object) -> None:
        pass

    def handle_expect_100(self) -> bool:
        # Granted where the fate of the request is known.
        return True

    def _pass(self) -> None:
        between = self.server.network
        between.keep_silent()
        fault = between.fate(self.command, self.path)
        if fault == "dropped":
            return self._hang_up()
        if self.headers.get("Expect"):
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = self._body()
        if fault in ("busy", "broken"):
            return self._refuse(fault)
        if fault == "late":
            time.sleep(LATE_SECONDS)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        try:
            answer, content = between.forward(self.command, self.path, headers, body)
        except (OSError, HTTPException):
            return self._hang_up()
        if fault == "lost":
            return self._hang_up()
        self._answer(answer, content, cut=fault == "cut")

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _pass

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(self, answer: HTTPResponse, content: bytes, cut: bool) -> None:
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        # A HEAD tells the length of what it does not send.
        length = answer.getheader("Content-Length") if self.command == "HEAD" else len(content)
        self.send_header("Content-Length", str(length or 0))
        if cut and not content:  # half of a head, then
            return self._hang_up()
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if cut else content)
        if cut:
            self._hang_up()

    def _refuse(self, fault: str) -> None:
        status, code = (503, "SlowDown") if fault == "busy" else (500, "InternalError")
        text = b"" if self.command == "HEAD" else f"<Error><Code>{code}</Code><Message>wait</Message></Error>".encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _hang_up(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
