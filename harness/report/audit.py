"""The audit: what an attack that was fitted to each method finds, beside what guessing would."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import polars as pl

from harness.errors import printable
from harness.metrics import Definition, leaks
from harness.report.data import PLACE, in_panels
from harness.report.forest import Estimate, forest_panel
from harness.report.meanings import Meanings
from harness.report.roster import Competitor, Entry, Roster, competitors
from harness.report.sheet import Panel

HEADLINE = "auc"
NULLS = {"O": "against images that were never in", "R": "against models retrained without them"}
VERDICTS = ("found", "told apart", "not found", "not found, R in part", "not found, R not run", "not tried")
_SETTING = ("pool", "null", "level")


def defined(attacks: pl.DataFrame, meanings: Meanings) -> pl.DataFrame:
    """Return the rows of an audit whose metric has a definition: no number without one."""
    return attacks.filter(pl.col("metric").is_in(list(meanings)))


def strongest(attacks: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of the strongest level of attacker tried in each place, pool and null, up to L2.

    L3 also sees the model before unlearning, which leaks whatever the method does: it is in the table alone.
    """
    fair = attacks.filter(pl.col("level") <= "L2")
    return fair.filter(pl.col("level") == pl.col("level").max().over(*PLACE, "pool", "null"))


def audit_panels(attacks: pl.DataFrame, meanings: Meanings, roster: Roster) -> list[Panel]:
    """Return one panel of the AUC for each place, pool and null, at the strongest level."""
    rows = strongest(attacks.filter(pl.col("metric") == HEADLINE)).drop_nulls("value")
    panels = []
    for where, (pool, null, level), own in in_panels(rows.sort(*PLACE, *_SETTING), *_SETTING):
        found = {
            (row["method"], row["config"]): Estimate(row["value"], row["low"], row["high"])
            for row in own.iter_rows(named=True)
        }
        title = printable(f"{where}{pool}, null {null}, {level}")
        panels.append(forest_panel(found, meanings[HEADLINE], roster, title, own["null_floor"][0]))
    return panels


def verdicts(attacks: pl.DataFrame, roster: Roster) -> Mapping[str, Sequence[Entry]]:
    """Return the methods by what U-LiRA (level L2) finds.

    `found`: a leak on some pool against null O (`harness.metrics.leaks`). `told apart`: none there, but against null
    R, so the release is no retrain although it does not tell who was ever in. `not found`: no leak against either;
    `not found, R in part` and `not found, R not run` where null R was run on some pools or none. `not tried`: audited,
    but not at level L2.
    """
    never_in, retrained = (_leaking(attacks, null) for null in ("O", "R"))
    deep = set(competitors(attacks.filter(pl.col("level") == "L2", pl.col("metric") == HEADLINE)))
    found: dict[str, list[Entry]] = {name: [] for name in VERDICTS}
    for entry in (one for one in roster.among(attacks) if not one.is_reference):
        pools, again = never_in.get(entry.competitor, {}), retrained.get(entry.competitor, {})
        if entry.competitor not in deep:
            found["not tried"].append(entry)
        elif any(pools.values()):
            found["found"].append(entry)
        elif pools and any(again.values()):
            found["told apart"].append(entry)
        elif pools:
            missing = pools.keys() - again.keys()
            run = "" if not missing else ", R in part" if again else ", R not run"
            found[f"not found{run}"].append(entry)
    return found


def _leaking(attacks: pl.DataFrame, null: str) -> dict[Competitor, dict[tuple[str, ...], bool]]:
    """Say for each audited method on which pools it leaks."""
    found: dict[Competitor, dict[tuple[str, ...], bool]] = {}
    for row in leaks(attacks, null).iter_rows(named=True):
        pool = (row["dataset"], row["architecture"], row["pool"])
        found.setdefault((row["method"], row["config"]), {})[pool] = row["leaks"]
    return found


def headline_meanings(attacks: pl.DataFrame, meanings: Meanings) -> dict[str, Definition]:
    """Return the meaning of the headline of each pool and null: the AUC of U-LiRA (level L2)."""
    one = meanings.get(HEADLINE)
    if one is None:
        return {}
    return {
        headline_name(pool, null): replace(
            one,
            metric=headline_name(pool, null),
            label=f"audit ({pool}), null {null}",
            what=f"level L2, pool {pool}, null {null} ({NULLS[null]}): {one.what}",
        )
        for pool, null in _headline(attacks).select("pool", "null").unique(maintain_order=True).rows()
    }


def headline_estimates(attacks: pl.DataFrame) -> dict[str, dict[Competitor, Estimate]]:
    """Return the headline of each pool and null by competitor; nothing if more than one place was audited."""
    rows = _headline(attacks)
    if rows.select(PLACE).n_unique() != 1:
        return {}
    found: dict[str, dict[Competitor, Estimate]] = {}
    for row in rows.iter_rows(named=True):
        estimate = Estimate(row["value"], row["low"], row["high"])
        found.setdefault(headline_name(row["pool"], row["null"]), {})[row["method"], row["config"]] = estimate
    return found


def headline_name(pool: str, null: str) -> str:
    """Return under which name the headline of a pool and null stands among the metrics."""
    return f"{HEADLINE} {pool} null {null}"


def _headline(attacks: pl.DataFrame) -> pl.DataFrame:
    return attacks.filter(
        pl.col("level") == "L2",
        pl.col("null").is_in(list(NULLS)),
        pl.col("metric") == HEADLINE,
        pl.col("value").is_not_null(),
    ).sort("pool", "null")
