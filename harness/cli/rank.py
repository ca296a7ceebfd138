"""`harness rank`: the ranking of a study, from its tables."""

from __future__ import annotations

import click

from harness.cli import options


@click.command()
@options.study
@options.root
@options.plugin
@options.as_json
def command(study: str, root: str | None, as_json: bool) -> None:
    """Rank the methods of STUDY from what its tables hold now; runs nothing.

    Every number comes with its 95 % interval over cells and seeds; a rank with the interval of the rank.

    \b
    harness rank digits
    harness rank digits --json
    """
    from harness.cli.text import columns
    from harness.planner import make_plan
    from harness.store import Store
    from harness.study import load_study
    from harness.views import rankings, refuse_empty

    plan, store = make_plan(load_study(study)), Store.open(root)
    refuse_empty(plan, store)
    frame = rankings(plan, store)
    if as_json:
        click.echo(frame.write_json())
        return
    for (group, metric), rows in frame.group_by(["group", "metric"], maintain_order=True):
        click.echo(f"\n{metric}{'' if group == 'overall' else f'  ({group})'}")
        click.echo(columns([_row(row) for row in rows.iter_rows(named=True)], HEADER))


HEADER = ["rank", "method", "value", "95 % interval", "tie group", "coverage", "status"]


def _row(row: dict[str, object]) -> list[str]:
    from harness.cli.screen import interval, rank_text

    return [
        rank_text(row),
        str(row["method"]) + ("" if row["config"] == "default" else f" ({row['config']})"),
        "-" if row["value"] is None else f"{row['value']:.4f}",
        interval(row),
        "-" if row["tie_group"] is None else str(row["tie_group"]),
        f"{row['coverage']:.0%}",
        str(row["status"]),
    ]
