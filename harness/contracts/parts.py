"""The parts of a data set under a scenario."""

from __future__ import annotations

from enum import StrEnum


class Part(StrEnum):
    """Forget and retain make up the training data, but for what earlier requests have forgotten.

    No method ever sees test.
    """

    RETAIN = "retain"
    FORGET = "forget"
    VAL = "val"
    TEST = "test"


RETAIN, FORGET, VAL, TEST = Part.RETAIN, Part.FORGET, Part.VAL, Part.TEST
