"""Why a worker died, from what it left."""

from __future__ import annotations

import faulthandler
import re
from pathlib import Path

import pytest

from harness.process.deaths import TIME_LIMIT, death

ERROR = "Failure # 1\nThe actor died unexpectedly before finishing this task.\n"


def test_a_stack_of_a_timeout_is_a_time_limit_and_final(tmp_path: Path) -> None:
    """The stack is one that faulthandler has written, here without ending the process."""
    trace = tmp_path / "trace"
    with trace.open("w") as file:
        faulthandler.dump_traceback_later(0.05, file=file)
        re.match(r"(a+)+$", "a" * 22 + "b")
        faulthandler.cancel_dump_traceback_later()
    found = death(ERROR, trace.read_text(), 1.5)
    assert (found.exception, found.final) == (TIME_LIMIT, True)
    assert found.message == "the unit took more than its limit of 1.5 s"
    assert "test_deaths.py" in found.cause


@pytest.mark.parametrize("trace", ["", 'Fatal Python error: Segmentation fault\n  File "x.py", line 1 in unlearn\n'])
def test_any_other_death_deserves_another_try(trace: str) -> None:
    found = death(ERROR, trace, 60)
    assert (found.exception, found.final) == ("WorkerDied", False)
    assert found.cause == trace + ERROR
    assert "\n" not in found.message
