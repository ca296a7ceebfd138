"""Declaring a data set: its digest and its recipes."""

from __future__ import annotations

from dataclasses import replace

from harness.check import problem as tiny
from harness.contracts import Recipe

SPEC = replace(tiny.SPEC, files={"a": "1" * 64, "b": "2" * 64}, recipes={"special": Recipe(epochs=7)})


def test_the_digest_is_that_of_the_official_files_in_any_order() -> None:
    assert replace(SPEC, files=dict(reversed(SPEC.files.items()))).digest == SPEC.digest
    assert len(SPEC.digest) == 16
    others = [{"a": "2" * 64, "b": "1" * 64}, {"a": "1" * 64}, {"a": "1" * 64, "c": "2" * 64}]
    digests = [replace(SPEC, files=files).digest for files in others]
    assert len({SPEC.digest, *digests}) == 4


def test_an_architecture_may_have_its_own_recipe() -> None:
    assert SPEC.recipe_for("special") == Recipe(epochs=7)
    assert SPEC.recipe_for("any") == SPEC.recipe


def test_the_recipe_is_the_published_one_unless_given() -> None:
    assert Recipe() == Recipe(50, 256, 0.1, 0.9, 5e-4, "cosine", "fp32")
