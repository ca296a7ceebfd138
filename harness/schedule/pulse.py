"""Whether Ray is still there. Where it is not, Ray ends this process, in 60 s or at once, without a word to a person.

So a thread ends it first, with a word. No exception could do that: the main thread may be inside a call of Ray that
waits for the head, or touch the memory of a dead node, which is the end of the process.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from harness.process.last_resort import end_if_told, end_with

RECONNECT = "RAY_gcs_rpc_server_reconnect_timeout_s"
SILENT_SHARE = 2 / 3
"""The share of the time that Ray itself waits for its head."""
PAUSE_SECONDS, ANSWER_SECONDS = 2.0, 5.0
"""Between two questions to the head, and for its answer."""
ENVIRONMENT_WRONG = 2


@contextmanager
def felt(place: str) -> Iterator[Pulse]:
    """Inside the block, end the process if Ray at `place` has died; the exit code is 2.

    That is: the head has not answered for 40 s (two thirds of RAY_gcs_rpc_server_reconnect_timeout_s), or the node is
    gone that this process is connected to.
    """
    pulse = Pulse(place)
    for watch in (pulse.watch_head, pulse.watch_node):
        threading.Thread(target=watch, name=watch.__name__, daemon=True).start()
    try:
        yield pulse
    finally:
        pulse.leave()
        pulse.ended.set()


class Pulse:
    """What two threads feel."""

    def __init__(self, place: str) -> None:
        from ray import _raylet
        from ray._private import worker

        core: Any = _raylet
        own: Any = worker
        self._place = place
        self._head = core.GcsClient(address=own.global_worker.gcs_client.address)
        self._node = socket.socket(socket.AF_UNIX)
        self._node.connect(own._global_node.raylet_socket_name)
        self._leaving, self.ended = threading.Event(), threading.Event()

    def leave(self) -> None:
        """From now on the node may go: Ray is shut down."""
        self._leaving.set()

    def watch_head(self) -> None:
        """Ask the head now and then."""
        silence = SILENT_SHARE * float(os.environ.get(RECONNECT, "60"))
        silent_since = float("inf")  # not since the last answer: this process may have been paused itself
        while not self.ended.wait(PAUSE_SECONDS):
            asked = time.monotonic()
            silent_since = float("inf") if self._answers() else min(asked, silent_since)
            if time.monotonic() - silent_since >= silence:
                self._end(f"the head of Ray at {self._place} has not answered for {silence:g} s")

    def watch_node(self) -> None:
        """Wait until the node closes a connection on which nobody ever says anything."""
        with self._node:
            poll = select.poll()
            poll.register(self._node, select.POLLIN)
            while not self._leaving.is_set():
                if poll.poll(1000 * PAUSE_SECONDS) and not self._leaving.is_set():
                    self._end(f"the node of Ray on {socket.gethostname()}, which this driver needs, has died")

    def _answers(self) -> bool:
        with suppress(Exception):  # one of Ray's own, by the way in which there is no answer
            self._head.check_alive([], timeout=ANSWER_SECONDS)
            return True
        return False

    def _end(self, what: str) -> None:
        end_if_told()  # who ends a job often tells all its processes, Ray's too
        line = f"{what}; everything finished is kept: with a Ray that runs, the same command goes on"
        end_with(f"harness: {line}", ENVIRONMENT_WRONG)
