"""The commands that print the rows behind a figure: `harness query "select …"`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import polars as pl

from harness.errors import printable
from harness.farm import POPULATION, TUNING_FIRST
from harness.metrics import CELL, EFFICACY_RATIO, IMAGES_RATIO, LIKENESS_METRICS, PROBE_METRICS, TRIO_METRICS

CAVEAT = (
    "The commands below figures name the study, or its cells, methods and seeds. Where a root holds another study "
    "of the same cells, methods and seeds with another recipe or other hyperparameters, its rows come with them."
)

_ACCURACY = "metric = 'accuracy' and part in ('retain', 'forget', 'test')"
_TIMED = "kind = 'timing' and metric = 'seconds'"
_RELEARNED = "kind = 'relearn'"
_ATTACKED = "kind = 'attack'"
_COMPARED = "kind = 'compare'"
_PROBED = "kind = 'probe'"
_OF_OTHER_KINDS = (_TIMED, _RELEARNED, _ATTACKED, _COMPARED, _PROBED)
_JUDGED = "metric in ('f1_over_chance', 'population_mia') and part = 'test'"
_BESIDE_MIA = "metric in ('accuracy', 'mia_confidence')"
_BASE = {
    "retention_deviation": _ACCURACY,
    "gap_to_retrain": _ACCURACY,
    "rebound": "metric = 'accuracy' and part = 'forgotten_before'",
    "time_ratio": _TIMED,
    "run_time_efficiency": _TIMED,
    "seconds": _TIMED,
    "relearn_steps": _RELEARNED,
    "anamnesis": _RELEARNED,
    "loss_gap": "metric = 'loss' and part in ('forget', 'test')",
    **dict.fromkeys(TRIO_METRICS, _ATTACKED),
    **dict.fromkeys(LIKENESS_METRICS, _COMPARED),
    **dict.fromkeys((*PROBE_METRICS, EFFICACY_RATIO), _PROBED),
    IMAGES_RATIO: "metric = 'images_seen'",
    "tow": _ACCURACY,
    "nomus": "metric in ('accuracy', 'population_mia') and part = 'test'",
    "aus": "metric = 'accuracy'",
    **dict.fromkeys(("tow_mia", "average_gap"), _BESIDE_MIA),
}
"""What the derived metrics are computed from, see `harness.metrics.derive`."""

_PARTS = ("test_retain", "test_forget", "manipulated", "forgotten_before", "retain", "forget", "val", "test")


def of_ranks(study: str, metrics: Sequence[str]) -> str:
    """Return the command for the ranks over all cells on some metrics."""
    return _command(
        "select metric, method, config, rank, rank_low, rank_high from rankings "
        f"where study = {_text(study)} and \"group\" = 'overall' and {_among('metric', metrics)} and rank is not null"
    )


def of_values(study: str, trials: pl.DataFrame, metrics: Iterable[str]) -> str:
    """Return the command for what was measured of trials: all that the given metrics are computed from."""
    bases = list(dict.fromkeys(base for metric in metrics for base in _bases(metric)))
    of_trials = [base for base in bases if base not in _OF_OTHER_KINDS]
    measured = [f"kind in ('retrain', 'unlearn') and ({' or '.join(of_trials)})"] if of_trials else []
    wanted = " or ".join([*measured, *(base for base in _OF_OTHER_KINDS if base in bases)])
    columns = ", ".join(("unit", *CELL, "method", "config", "seed", "kind", "part", "metric", "value"))
    return _command(f"select {columns} from metrics where {_trials(study, trials)} and ({wanted})")


def of_epochs(study: str, trials: pl.DataFrame) -> str:
    """Return the command for the accuracies by epoch of trials."""
    columns = "unit, method, config, seed, epoch, forget, retain, val, test"
    return _command(f"select {columns} from epochs where {_trials(study, trials)} and kind in ('retrain', 'unlearn')")


def of_traces(study: str, trials: pl.DataFrame, names: Sequence[str]) -> str:
    """Return the command for what methods noted of each epoch under some names."""
    columns = 'unit, method, config, seed, epoch, name, "values"'
    where = f"{_trials(study, trials)} and kind = 'unlearn' and {_among('name', names)}"
    return _command(f"select {columns} from traces where {where}")


def of_sheets(units: Sequence[str]) -> str:
    """Return the command for the sheets of artifacts; `png` is a file in base64."""
    return _command(f"select unit, method, config, name, images, png from sheets where {_among('unit', units)}")


def of_attacks(study: str, metric: str, levels: Iterable[str]) -> str:
    """Return the command for one metric of an audit at some levels of attacker."""
    columns = 'dataset, architecture, method, config, pool, "null", level, value, low, high, null_floor'
    where = f"study = {_text(study)} and metric = {_text(metric)} and {_among('level', sorted(set(levels)))}"
    return _command(f"select {columns} from attacks where {where}")


def of_signals(attacks: pl.DataFrame) -> str:
    """Return the command for what the models of a farm say about the audited images."""
    where = " and ".join(_among(name, _distinct(attacks[name])) for name in ("dataset", "architecture"))
    return _command(
        "select unit, kind, dataset, scenario, architecture, method, config, seed, pool, query, n, phi, member "
        f"from signals where kind in ('shadow', 'shadow_retrain', 'shadow_unlearn') and {where} "
        f"and pool <> {_text(POPULATION)} and seed < {TUNING_FIRST}"
    )


def _command(sql: str) -> str:
    # What a shell would read within double quotes.
    escaped = "".join(f"\\{letter}" if letter in '\\"$`' else letter for letter in printable(sql))
    return f'harness query "{escaped}"'


def _trials(study: str, trials: pl.DataFrame) -> str:
    """Return the condition that chooses the trials of a study: its cells and seeds, and the methods that it ranks."""
    own = [_among(name, _distinct(trials[name])) for name in (*CELL, "seed")]
    return " and ".join([*own, f"method in (select method from rankings where study = {_text(study)})"])


def _bases(metric: str) -> Sequence[str]:
    return (_TIMED, _JUDGED) if metric == "gum" else (_base(metric),)


def _base(metric: str) -> str:
    """Return the condition that chooses what a metric is computed from."""
    if metric.endswith("_retention"):
        return _ACCURACY
    if metric in _BASE:
        return _BASE[metric]
    stored = metric.replace("indiscernibility", "population_mia")
    for part in _PARTS:
        if stored.endswith(f"_{part}"):
            return f"metric = {_text(stored.removesuffix(f'_{part}'))} and part = {_text(part)}"
    return f"metric = {_text(metric)}"


def _distinct(column: pl.Series) -> list[object]:
    return column.drop_nulls().unique().sort().to_list()


def _among(column: str, values: Sequence[object]) -> str:
    if len(values) == 1:
        return f"{column} = {_text(values[0])}"
    return f"{column} in ({', '.join(_text(value) for value in values)})"


def _text(value: object) -> str:
    return str(value) if isinstance(value, int) else "'" + str(value).replace("'", "''") + "'"
