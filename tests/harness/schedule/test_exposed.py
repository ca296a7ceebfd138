"""Clusters that let everybody in are named, and whatever a dashboard says of a token is one line."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import ray
import tiny_study
from tiny_cluster import head_node

from harness.schedule import dashboard, exposed

TOKEN = "9c" * 32
slow = partial(pytest.param, marks=pytest.mark.slow)
JSON, HTML = "application/json", "text/html"
OPEN = (200, JSON, "[]")


@dataclass
class Dashboard:
    """In place of a head node: what it answers to one without the token, and to one who has it."""

    without: tuple[int, str, str] = (401, "text/plain", "Unauthorized: Missing authentication token")
    granted: bool = True
    asked: list[tuple[str, str | None]] = field(default_factory=list)

    def answer(self, path: str, authorization: str | None) -> tuple[int, str, str]:
        self.asked.append((path, authorization))
        if self.without != OPEN and not (self.granted and authorization):
            return self.without
        if path == "/api/version":
            versions = {"version": "4", "ray_version": "2.60.0", "ray_commit": "x", "session_name": "s"}
            return 200, JSON, json.dumps(versions)
        return 200, JSON, "[]"


@pytest.fixture
def serve() -> Iterator[Callable[[Dashboard], str]]:
    """Serve a dashboard; returns its address."""
    servers: list[ThreadingHTTPServer] = []

    def start(board: Dashboard) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, kind, text = board.answer(self.path, self.headers.get("Authorization"))
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            do_POST = do_PUT = do_GET

            def log_message(self, *_: Any) -> None:
                pass

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("without", "expected"),
    [
        (OPEN, True),
        ((401, "text/plain", "Unauthorized: Missing authentication token"), False),
        ((403, "text/plain", "Forbidden"), False),
        ((200, HTML, "<html>log in"), False),
        ((404, JSON, "{}"), False),
        ((500, JSON, "{}"), False),
    ],
)
def test_who_answers_without_a_token_is_open(
    without: tuple[int, str, str], expected: bool, serve: Callable[[Dashboard], str]
) -> None:
    board = Dashboard(without)
    address = serve(board)
    assert exposed.answers_all(address) is expected
    assert exposed.answers_all(address.replace("//", "//user:password@")) is expected
    assert {authorization for _, authorization in board.asked} == {None}, "it is asked by nobody"


def test_an_open_cluster_is_named_once_and_used(serve: Callable[[Dashboard], str]) -> None:
    address = serve(Dashboard(OPEN))
    answer = tiny_study.script("status", "--address", address.replace("//", "//user:canary@"), RAY_AUTH_MODE="disabled")
    assert answer.code == 0
    assert answer.out.startswith(f"no job of the harness at {address}; ")
    (line,) = answer.lines
    assert line.startswith(f"harness: the Ray cluster at {address} wants no token: whoever reaches its ports can run")
    assert "ray get-auth-token --generate" in line
    assert "RAY_AUTH_MODE=token" in line
    assert "canary" not in answer.out + answer.err


def test_of_a_cluster_that_wants_a_token_nothing_is_said(
    serve: Callable[[Dashboard], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    address = serve(Dashboard())
    answer = tiny_study.script("status", "--address", address, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=TOKEN)
    assert (answer.code, answer.err) == (0, "")


@pytest.mark.parametrize(
    ("without", "right"),
    [
        ((401, "text/plain", "Unauthorized: Missing authentication token"), "set RAY_AUTH_MODE=token, and RAY_AUTH_"),
        slow((403, "text/plain", "Forbidden: Invalid authentication token"), "its token is another one; put it into"),
        slow((401, "text/plain", "Unauthorized: token expired\nask again"), "token expired"),
        slow((403, HTML, "<html>\n<h1>Forbidden</h1>\n<p>by the gate</p></html>"), "Forbidden"),
        ((500, HTML, "<html>\nbroken"), "500 Server Error"),
        ((204, HTML, ""), "that is no dashboard of Ray"),
    ],
)
def test_whatever_is_said_of_a_token_is_one_line(
    without: tuple[int, str, str], right: str, serve: Callable[[Dashboard], str], tmp_path: Path
) -> None:
    address = serve(Dashboard(without, granted=False))
    study = tiny_study.write_study(tmp_path, tiny_study.PLAIN)
    arguments = ("submit", study, "--address", address.replace("//", "//user:canary@"), "--root", tmp_path)
    answer = tiny_study.script(*arguments, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=TOKEN)
    assert (answer.code, answer.out, len(answer.lines)) == (2, "", 1), answer
    assert answer.err.startswith(f"harness: no Ray at {address}: ")
    assert right in answer.err
    assert not [secret for secret in ("canary", TOKEN) if secret in answer.err]


def test_who_joins_without_a_token_joins_an_open_cluster(
    serve: Callable[[Dashboard], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shut, open_ = (serve(board).removeprefix("http://") for board in (Dashboard(), Dashboard(OPEN)))
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    assert [exposed.takes_all(address) for address in (shut, open_, "127.0.0.1:1", None)] == [False, True, False, False]
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert exposed.takes_all(None)


@pytest.mark.ray
@pytest.mark.slow
def test_a_real_cluster_that_wants_no_token_is_named_by_both_ways_to_it(tmp_path: Path) -> None:
    with head_node(with_token=False) as head:
        study = tiny_study.write_study(tmp_path, tiny_study.PLAIN)
        arguments = ("submit", study, "--address", head.address, "--root", tmp_path / "job")
        sent = tiny_study.script(*arguments, **head.environment)
        assert sent.code == 0, sent
        assert [line.startswith(f"harness: the Ray cluster at {head.address} wants no") for line in sent.lines] == [
            True
        ]
        joined = tiny_study.script("run", study, "--address", head.gcs, "--root", tmp_path / "run", **head.environment)
        assert joined.code == 0, joined
        (told,) = [line for line in joined.lines if "wants no token" in line]
        port = head.gcs.rpartition(":")[2]
        name = f"{ray.util.get_node_ip_address()}:{port}"  # Ray's own word for this machine
        assert told.startswith(f"harness: the Ray cluster at {name} wants no token: ")


def test_what_is_warned_of_is_a_warning(serve: Callable[[Dashboard], str]) -> None:
    """For whoever calls it from Python."""
    with pytest.warns(UserWarning, match="wants no token"):
        dashboard.connect(serve(Dashboard(OPEN)))
