"""`harness attack`: the audit of a study, from the signals of its farm."""

from __future__ import annotations

import click

from harness.cli import options


@click.command()
@options.study
@options.root
@options.plugin
@click.option("--metric", default="auc", show_default=True, help="auc, tpr@0.01, tpr@0.001 or bacc@0.")
@options.as_json
def command(study: str, root: str | None, metric: str, as_json: bool) -> None:
    """Attack the farm of STUDY again from its stored signals; runs no model, also on a farm that is half done.

    L2 is the headline: fitted on shadows that went through the same method. Null O asks whether the release leaks
    that an image was ever trained on, null R whether it can be told from a retrain. 0.5 is no leak.

    \b
    harness attack digits
    harness attack digits --metric tpr@0.01
    """
    from harness.cli.text import columns
    from harness.errors import HarnessError, did_you_mean
    from harness.planner import make_plan
    from harness.store import Store
    from harness.study import load_study
    from harness.views import attacks

    plan = make_plan(load_study(study))
    if plan.study.farm is None:
        raise HarnessError(f"study {plan.study.name!r} has no farm; give it one: farm: {{shadows: 32}}")
    frame = attacks(plan, Store.open(root))
    if as_json:
        click.echo(frame.write_json())
        return
    known = frame["metric"].unique().to_list()
    if known and metric not in known:
        raise HarnessError(f"no metric {metric!r} in the audit{did_you_mean(metric, known)}")
    chosen = frame.filter(metric=metric).sort("dataset", "architecture", "pool", "level", "null", "value")
    if chosen.is_empty():
        click.echo("no signals of the farm yet; run the study first")
        return
    click.echo(columns([_row(row) for row in chosen.iter_rows(named=True)], HEADER))


HEADER = ["pool", "level", "null", "method", "value", "95 % interval", "no leak", "K", "flags"]


def _row(row: dict[str, object]) -> list[str]:
    from harness.cli.screen import interval

    floor = row["null_floor"]
    return [
        str(row["pool"]),
        str(row["level"]),
        str(row["null"]),
        str(row["method"]) + ("" if row["config"] == "default" else f" ({row['config']})"),
        "-" if row["value"] is None else f"{row['value']:.4f}",
        interval(row),
        "-" if floor is None else f"{floor:.4f}",
        f"{row['k_u']} + {row['k_o']}",
        str(row["flags"]),
    ]
