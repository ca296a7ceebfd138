"""torchvision can be imported whichever torch stands beside it."""

from __future__ import annotations

import subprocess
import sys

CODE = """
from harness.engine.vision import torchvision
assert torchvision() is torchvision()
print(sum(p.numel() for p in torchvision().models.resnet18().parameters()))
"""


def test_torchvision_is_imported_in_a_fresh_process() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "11689512"), done.stderr
