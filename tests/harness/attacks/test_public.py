from __future__ import annotations

import subprocess
import sys

import harness.attacks


def test_every_public_name_is_there_and_says_what_it_is() -> None:
    for name in harness.attacks.__all__:
        thing = getattr(harness.attacks, name)
        assert not callable(thing) or thing.__doc__, name


def test_importing_costs_numpy_only() -> None:
    code = (
        "import sys, harness.attacks\n"
        "heavy = {'scipy', 'sklearn', 'torch', 'ray', 'polars', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
