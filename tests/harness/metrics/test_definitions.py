from __future__ import annotations

import polars as pl
import pytest

from harness.metrics import (
    DEFINITIONS,
    InvalidDefinition,
    UnknownMetric,
    define,
    definition,
    definitions,
    frame,
)

NEW = {
    "label": "churn",
    "what": "share of test images on which the model and retrain disagree",
    "direction": "lower",
    "reference": "0: retrain",
    "unit": "fraction",
    "source": "Chundawat et al. 2023, AAAI",
}


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(definitions, "DEFINITIONS", dict(DEFINITIONS))


@pytest.mark.parametrize("metric", sorted(DEFINITIONS))
def test_every_definition_says_all_that_a_reader_needs(metric: str) -> None:
    one = DEFINITIONS[metric]
    assert one.metric == metric
    assert all((one.label, one.what, one.reference, one.unit, one.source))
    assert one.direction in ("lower", "higher", "closest")
    if one.direction == "closest" and one.reference_value is None:
        assert "retrain" in one.reference


@pytest.mark.parametrize("metric", sorted(DEFINITIONS))
def test_a_fixed_reference_says_its_number_in_words_too(metric: str) -> None:
    one = DEFINITIONS[metric]
    if one.reference_value is not None:
        assert float(one.reference.partition(":")[0]) == one.reference_value


def test_frame_has_one_row_per_definition_and_null_where_no_number_is_fixed() -> None:
    table = frame()
    assert table["metric"].to_list() == list(DEFINITIONS)
    assert table.schema["reference_value"] == pl.Float64
    assert table.filter(metric="accuracy_test")["reference_value"].item() is None
    assert table.filter(metric="population_mia_val")["reference_value"].item() == 0.5


def test_a_definition_may_be_repeated_but_not_changed() -> None:
    first = define("churn", **NEW)
    assert define("churn", **NEW) == first == definition("churn")
    with pytest.raises(InvalidDefinition, match="'churn' already means something else"):
        define("churn", **(NEW | {"unit": "percent"}))


def test_an_unknown_direction_is_refused_and_leaves_nothing_behind() -> None:
    with pytest.raises(InvalidDefinition, match="'up' is not lower, higher or closest"):
        define("churn", **(NEW | {"direction": "up"}))
    assert "churn" not in definitions.DEFINITIONS


def test_an_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(UnknownMetric, match="did you mean 'retention_deviation'"):
        definition("retention_deviatoin")
