"""Results of a method change only together with its version."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

GOLDEN = runpy.run_path(str(Path(__file__).with_name("golden.py")))
STORED: dict[str, dict[str, Any]] = json.loads(GOLDEN["FILE"].read_text())
HINT = "raise the method's version, then: python tests/tasks/methods/golden.py --write"


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, Any]]:
    document: dict[str, dict[str, Any]] = GOLDEN["document"]()
    return document


def test_every_method_is_there_with_its_version(found: dict[str, dict[str, Any]]) -> None:
    assert set(STORED) == set(found), HINT


@pytest.mark.parametrize("key", STORED)
def test_defaults_and_phi_are_the_golden_ones(key: str, found: dict[str, dict[str, Any]]) -> None:
    assert found[key]["defaults"] == STORED[key]["defaults"], HINT
    for name in ("phi", "phi_small_batches"):
        np.testing.assert_allclose(found[key][name], STORED[key][name], rtol=0, atol=1e-3, err_msg=HINT)
