"""`harness attack`: the audit of a study, from the signals of its farm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from harness.cli import options
from harness.cli.text import say

if TYPE_CHECKING:
    from harness.planner import Plan
    from harness.store import Store


@click.command()
@options.study
@options.root
@options.plugin
@click.option("--metric", default="auc", show_default=True, help="auc, tpr@0.01, eps_cp, klom, ...")
@click.option("--against", metavar="METHOD", help="How much more than METHOD each method leaks, shadow by shadow.")
@click.option("--power", is_flag=True, help="What the planned farm costs and can show; needs no results.")
@options.as_json
def command(study: str, root: str | None, metric: str, against: str | None, power: bool, as_json: bool) -> None:
    """Attack the farm of STUDY again from its stored signals; runs no model, also on a farm that is half done.

    L2 is the headline: fitted on shadows that went through the same method. Null O asks whether the release leaks
    that an image was ever trained on, null R whether it can be told from a retrain. 0.5 is no leak. A release that is
    ruined leaks nothing either: read null O beside null R and the test accuracy of the releases.

    \b
    harness attack digits
    harness attack digits --metric tpr@0.01
    harness attack digits --against finetune
    harness attack digits --power
    """
    from harness.errors import HarnessError
    from harness.planner import make_plan
    from harness.store import Store
    from harness.study import load_study

    plan = make_plan(load_study(study))
    if plan.study.farm is None:
        raise HarnessError(f"study {plan.study.name!r} has no farm; give it one: farm: {{shadows: 32}}")
    if power:
        _show_power(plan, as_json)
    elif against:
        _show_differences(plan, Store.open(root), against, as_json)
    else:
        _show_attacks(plan, Store.open(root), metric, as_json)


def _show_power(plan: Plan, as_json: bool) -> None:
    import json
    from dataclasses import asdict

    from harness.cli.farm import farm_lines
    from harness.farm_power import powers_of

    found = powers_of(plan)
    document = {label: asdict(power) for label, power in found.items()}
    say(json.dumps(document, indent=2) if as_json else "\n".join(farm_lines(found)))


def _show_differences(plan: Plan, store: Store, against: str, as_json: bool) -> None:
    from harness.audit import differences
    from harness.cli.text import columns, interval

    frame = differences(plan.units, store, against)
    if as_json:
        say(frame.write_json())
        return
    rows = [
        [
            row["pool"],
            row["null"],
            _method(row),
            f"{row['difference']:+.4f}",
            interval(row),
            f"{row['p_adjusted']:.2g}",
        ]
        for row in frame.sort("dataset", "architecture", "pool", "null", "difference").iter_rows(named=True)
    ]
    say(f"AUC (L2) minus that of {against}; paired by shadows, p adjusted for all rows (Benjamini-Hochberg)\n")
    say(columns(rows, ["pool", "null", "method", "difference", "95 % interval", "p adjusted"]))


def _show_attacks(plan: Plan, store: Store, metric: str, as_json: bool) -> None:
    from harness.audit import release_accuracy
    from harness.cli.text import columns
    from harness.errors import HarnessError, did_you_mean
    from harness.views import attacks

    frame = attacks(plan, store)
    if as_json:
        say(frame.write_json())
        return
    known = frame["metric"].unique().to_list()
    if known and metric not in known:
        raise HarnessError(f"no metric {metric!r} in the audit{did_you_mean(metric, known)}")
    chosen = frame.filter(metric=metric).sort("dataset", "architecture", "pool", "level", "null", "value")
    if chosen.is_empty():
        say("no signals of the farm yet; run the study first")
        return
    accuracy = release_accuracy(plan.units, store)
    say(columns([_row(row, accuracy) for row in chosen.iter_rows(named=True)], HEADER))


HEADER = ["pool", "level", "null", "method", "value", "95 % interval", "no leak", "p adj.", "test acc", "K", "flags"]
_PLACE = ("dataset", "architecture", "method", "config", "pool")


def _row(row: Mapping[str, Any], accuracy: Mapping[Any, float]) -> list[str]:
    from harness.cli.text import interval

    utility = accuracy.get(tuple(row[column] for column in _PLACE))
    return [
        row["pool"],
        row["level"],
        row["null"],
        _method(row),
        _number(row["value"]),
        interval(row),
        _number(row["null_floor"]),
        "-" if row["p_adjusted"] is None else f"{row['p_adjusted']:.2g}",
        "-" if utility is None else f"{utility:.3f}",
        f"{row['k_u']} + {row['k_o']}",
        row["flags"],
    ]


def _method(row: Mapping[str, Any]) -> str:
    return str(row["method"]) + ("" if row["config"] == "default" else f" ({row['config']})")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
