"""The audit: what an attack that was fitted to each method finds, beside what guessing would."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import polars as pl

from harness.metrics import Definition, leaks
from harness.report.blocks import Column, Group, Row, Table, TableCell, slug
from harness.report.forest import Estimate, forest_panel
from harness.report.meanings import Meanings, arrow, sentence
from harness.report.numbers import bracket, decimals, fixed
from harness.report.roster import Competitor, Entry, Roster, printable
from harness.report.sheet import Panel

HEADLINE = "auc"
_PLACE = ("dataset", "architecture")
_SETTING = ("pool", "null", "level")


def defined(attacks: pl.DataFrame, meanings: Meanings) -> pl.DataFrame:
    """Return the rows of an audit whose metric has a definition: no number without one."""
    return attacks.filter(pl.col("metric").is_in(list(meanings)))


def strongest(attacks: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of the strongest level of attacker tried in each place, pool and null."""
    return attacks.filter(pl.col("level") == pl.col("level").max().over(*_PLACE, "pool", "null"))


def audit_panels(attacks: pl.DataFrame, meanings: Meanings, roster: Roster) -> list[Panel]:
    """Return one panel of the AUC for each place, pool and null, at the strongest level."""
    rows = strongest(attacks).filter(pl.col("metric") == HEADLINE, pl.col("value").is_not_null())
    several_places = rows.select(_PLACE).n_unique() > 1
    panels = []
    for own in rows.sort(*_PLACE, *_SETTING).partition_by(*_PLACE, *_SETTING, maintain_order=True):
        found = {
            (row["method"], row["config"]): Estimate(row["value"], row["low"], row["high"])
            for row in own.iter_rows(named=True)
        }
        first = own.row(0, named=True)
        setting = f"{first['pool']}, null {first['null']}, {first['level']}"
        where = f"{first['dataset']} {first['architecture']}, " if several_places else ""
        panels.append(forest_panel(found, meanings[HEADLINE], roster, printable(where + setting), first["null_floor"]))
    return panels


def verdicts(attacks: pl.DataFrame, roster: Roster) -> Mapping[str, Sequence[Entry]]:
    """Return the methods by what U-LiRA (level L2) finds: `found`, `told apart` or `not found`.

    Found: a leak on some pool against null O (`harness.metrics.leaks`). Told apart: none there, but against null R,
    so the release is no retrain although it does not tell who was ever in.
    """
    never_in, retrained = (_leaking(attacks, null) for null in ("O", "R"))
    entries = [entry for entry in roster if not entry.is_reference and entry.competitor in never_in]
    found = [entry for entry in entries if never_in[entry.competitor]]
    apart = [entry for entry in entries if entry not in found and retrained.get(entry.competitor)]
    return {
        "found": found,
        "told apart": apart,
        "not found": [entry for entry in entries if entry not in found and entry not in apart],
    }


def _leaking(attacks: pl.DataFrame, null: str) -> dict[Competitor, bool]:
    """Say for each audited method whether it leaks on some pool."""
    judged = leaks(attacks, null).group_by("method", "config").agg(pl.col("leaks").any())
    return {(method, config): leak for method, config, leak in judged.rows()}


def headline_meanings(attacks: pl.DataFrame, meanings: Meanings) -> dict[str, Definition]:
    """Return the meaning of the headline of each pool: the AUC of U-LiRA (level L2, null O)."""
    one = meanings.get(HEADLINE)
    if one is None:
        return {}
    pools = sorted(set(_headline(attacks)["pool"]))
    return {
        _name(pool): replace(
            one,
            metric=_name(pool),
            label=f"audit ({pool})",
            what=f"level L2, null O, pool {pool}: {one.what}",
        )
        for pool in pools
    }


def headline_estimates(attacks: pl.DataFrame) -> dict[str, dict[Competitor, Estimate]]:
    """Return the headline of each pool by competitor; nothing if more than one place was audited."""
    rows = _headline(attacks)
    if rows.select(_PLACE).n_unique() != 1:
        return {}
    found: dict[str, dict[Competitor, Estimate]] = {}
    for row in rows.iter_rows(named=True):
        estimate = Estimate(row["value"], row["low"], row["high"])
        found.setdefault(_name(row["pool"]), {})[row["method"], row["config"]] = estimate
    return found


def _headline(attacks: pl.DataFrame) -> pl.DataFrame:
    return attacks.filter(
        pl.col("level") == "L2",
        pl.col("null") == "O",
        pl.col("metric") == HEADLINE,
        pl.col("value").is_not_null(),
    ).sort("pool")


def _name(pool: str) -> str:
    return f"{HEADLINE} {pool}"


def audit_table(attacks: pl.DataFrame, meanings: Meanings, roster: Roster) -> Table:
    """Return everything that was audited, one row for each method, place, pool, null and level."""
    metrics = [metric for metric in meanings if metric in set(attacks["metric"])]
    places = {m: decimals(attacks.filter(pl.col("metric") == m)["value"]) for m in metrics}
    columns = [
        Column("method", numeric=False),
        *(Column(name, numeric=False) for name in ("where", *_SETTING)),
    ]
    for metric in metrics:
        meaning = meanings[metric]
        columns.append(Column(meaning.label, f"{meaning.unit} {arrow(meaning)}", sentence(meaning), slug(metric)))
    columns += [
        Column("shadows"),
        Column("U / null", "observations"),
        Column("examples"),
        Column("flags", numeric=False),
    ]
    order = {entry.competitor: place for place, entry in enumerate(roster)}
    key = ("method", "config", *_PLACE, *_SETTING)
    parts = attacks.sort(*key).partition_by(key, maintain_order=True)
    parts.sort(key=lambda part: order.get((part["method"][0], part["config"][0]), len(order)))
    rows = [_row(part, metrics, places, roster) for part in parts]
    return Table("The audit in numbers", columns, [Group(rows)], folded=True)


def _row(part: pl.DataFrame, metrics: Sequence[str], places: Mapping[str, int], roster: Roster) -> Row:
    first = part.row(0, named=True)
    by_metric = {row["metric"]: row for row in part.iter_rows(named=True)}
    cells = [TableCell(roster[first["method"], first["config"]].label)]
    cells += [TableCell(printable(f"{first['dataset']} {first['architecture']}"))]
    cells += [TableCell(printable(str(first[name]))) for name in _SETTING]
    for metric in metrics:
        row = by_metric.get(metric, {})
        text = fixed(row.get("value"), places[metric])
        cells.append(TableCell(text, bracket(row.get("low"), row.get("high"), places[metric])))
    flags = sorted({flag for flag in part["flags"].drop_nulls() if flag})
    numbers = (first["n"], f"{first['k_u']} / {first['k_o']}", first["examples"])
    cells += [TableCell(str(number)) for number in numbers]
    return Row([*cells, TableCell(printable(", ".join(flags)))])
