"""What a unit prints: taken below Python too, kept and shown in part, and put back whatever it closed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from harness.work import output
from harness.work.output import KEPT_BYTES, SHOWN_BYTES, captured

LINE = b"a line of words\n"


def lines() -> None:
    print("by print")
    print("by stderr \udcff", file=sys.stderr)
    os.write(1, b"by the system\n")
    subprocess.run(["echo", "by a child"], check=True)


def test_everything_is_taken_and_nothing_is_seen(capfd: pytest.CaptureFixture[str]) -> None:
    with captured() as taken:
        lines()
    print("afterwards")
    for words in ("by print", "by stderr", "by the system", "by a child"):
        assert words in taken.tail
    assert capfd.readouterr() == ("afterwards\n", "")


def test_a_person_sees_it_on_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    with captured(show=True) as taken:
        lines()
    seen = capfd.readouterr()
    assert seen.out == ""
    assert taken.tail.endswith(seen.err.rstrip())


@pytest.mark.parametrize("megabytes", [1, 64])
def test_of_a_flood_the_beginning_is_shown_and_the_end_kept(megabytes: int, capfd: pytest.CaptureFixture[str]) -> None:
    begun = time.monotonic()
    with captured(show=True) as taken:
        for _ in range(megabytes):
            os.write(1, LINE * (2**20 // len(LINE)))
        os.write(2, b"the last words")
    assert taken.bytes == megabytes * 2**20 + len(b"the last words")
    assert taken.tail.endswith("the last words")
    assert len(taken.tail) < KEPT_BYTES + 100
    seen = capfd.readouterr().err
    assert seen.startswith(LINE.decode())
    allowed = SHOWN_BYTES + 1000 * (time.monotonic() - begun)
    assert len(seen) < allowed + 100
    assert seen.endswith(" more bytes that it printed are not shown]\n")


def test_who_prints_nothing_leaves_nothing() -> None:
    with captured() as taken:
        pass
    assert (taken.bytes, taken.tail, taken.intact) == (0, "", True)


def close_all() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.close()
    for number in (1, 2):
        os.close(number)


def replace() -> None:
    sys.stdout = sys.stderr = None  # type: ignore[assignment]


@pytest.mark.parametrize("harm", [close_all, replace])
def test_streams_are_put_back(harm: Callable[[], None], capfd: pytest.CaptureFixture[str]) -> None:
    before = sys.stdin, sys.stdout, sys.stderr
    with captured() as taken:
        print("once")
        harm()
    assert (sys.stdin, sys.stdout, sys.stderr) == before
    assert taken.intact
    print("again")
    os.write(2, b"and again")
    assert capfd.readouterr() == ("again\n", "and again")
    assert "once" in taken.tail


SPOILED = """
import os, sys
from harness.work.output import captured
with captured(show=True) as taken:
    os.closerange(0, 100)
print("to nobody", file=sys.stderr)
sys.exit(0 if not taken.intact else 1)
"""


def test_where_nothing_can_be_put_back_nothing_blocks_and_that_is_said() -> None:
    assert subprocess.run([sys.executable, "-c", SPOILED], check=False, timeout=60).returncode == 0


def test_a_child_that_goes_on_printing_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "WAIT_SECONDS", 0.2)
    with captured() as taken:
        child = subprocess.Popen(["yes"])
    try:
        assert taken.bytes >= 0
        child.wait(60)  # nobody reads any more: its next line ends it
    finally:
        child.kill()
