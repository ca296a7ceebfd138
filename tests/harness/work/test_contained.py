"""No copy, no child and no thread of a method outlives its unit unseen."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

from harness.process.children import children
from harness.work.contained import contained


def test_a_copy_ends_where_it_comes_out_and_the_process_goes_on(tmp_path: Path) -> None:
    with contained() as left:
        copy = os.fork()
        if copy == 0:
            (tmp_path / "in the block").touch()
    (tmp_path / f"behind the block {os.getpid()}").touch()
    assert {path.name for path in tmp_path.iterdir()} <= {"in the block", f"behind the block {os.getpid()}"}
    assert copy not in children()
    assert left == []


def test_a_copy_that_raises_ends_just_so(tmp_path: Path) -> None:
    with contained():
        copy = os.fork()
        if copy == 0:
            raise RuntimeError("in the copy")
    assert copy not in children()


def test_children_end_with_the_block_and_older_ones_do_not() -> None:
    with subprocess.Popen(["sleep", "1000"]) as older:
        try:
            with contained() as left:
                younger = subprocess.Popen(["sleep", "1000"])
                deaf = os.fork()
                if deaf == 0:
                    threading.Event().wait()
            assert older.poll() is None
            assert {younger.pid, deaf}.isdisjoint(children())
            younger.poll()
            assert left == []
        finally:
            older.kill()


ORPHANED = """
import subprocess, sys
from harness.process.children import adopt_orphans
from harness.work.contained import contained
adopt_orphans()
with contained():
    print(subprocess.check_output(["sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo $!"]).decode())
"""


def test_orphans_are_found_by_who_adopts_them() -> None:
    """In a process of its own, which stays a foster parent to its end."""
    said = subprocess.check_output([sys.executable, "-c", ORPHANED], text=True)
    assert not Path("/proc", said.strip()).exists()


def test_a_thread_that_ends_soon_is_waited_for_and_one_that_does_not_is_named() -> None:
    over, soon = threading.Event(), threading.Event()
    try:
        with contained() as left:
            threading.Thread(target=over.wait, name="stubborn", daemon=True).start()
            threading.Thread(target=soon.wait, args=(0.01,), name="hasty").start()
            threading.Thread(target=print, name="made and never started")
        assert left == ["the thread stubborn"]
    finally:
        over.set()
