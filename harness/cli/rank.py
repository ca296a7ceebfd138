"""`harness rank`: the ranking of a study from its tables, or of anyone's results from a CSV file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from harness.cli import options
from harness.cli.text import say

if TYPE_CHECKING:
    import polars as pl

RULES = ("average_linkage", "jenks", "quantile", "within_one_sd")
"""`harness.ranking.groups.GroupRule`, which takes numpy to import."""


@click.command()
@click.argument("study", required=False)
@click.option("--from", "source", metavar="CSV", help="Rank the results in this file instead of a study's.")
@click.option("--cells", is_flag=True, help="Print one row per method and cell as the paper does, not the ranking.")
@click.option(
    "--groups",
    type=click.Choice(RULES),
    default=RULES[0],
    show_default=True,
    help="How the methods of a cell are divided into G1, G2, G3.",
)
@options.root
@click.option("--plugin", multiple=True, metavar="MODULE", help="A module with more tasks.")
@options.as_json
def command(
    study: str | None,
    source: str | None,
    cells: bool,
    groups: str,
    root: str | None,
    plugin: tuple[str, ...],
    as_json: bool,
) -> None:
    """Rank the methods of STUDY from what its tables hold now, or those of a CSV file; runs nothing.

    Every number comes with its 95 % interval over cells and seeds; a rank with the interval of the rank. G1 (best), G2,
    G3 and Failed are the groups of the paper: in how many cells a method is in each, and its rank by that. Below each
    metric stands Friedman's test with Nemenyi's critical difference: ours, the paper has none. Of a study with the
    measure `challenge` the score of that follows, as the last run or report left it.

    \b
    harness rank digits
    harness rank digits --json
    harness rank digits --cells
    harness rank --from results.csv --groups jenks

    The file of --from has one row per trial, and these columns:

    \b
    required   dataset architecture method seed accuracy_retain accuracy_forget accuracy_test
    optional   scenario config
               status               done, diverged or failed
               classes              of the data set: models no better than chance count as failed
               accuracy_val population_mia_val population_mia_test
               seconds              of unlearning, of training for retrain; empty: not timed

    Accuracies and attacks are fractions from 0 to 1. The method retrain has to be there for each cell (data set,
    scenario, architecture) and seed; original is a reference too, and need not be. An empty number or NaN makes the
    trial unusable and the method Failed. Other columns are named and ignored.
    """
    if (study is None) == (source is None):
        given = "neither" if study is None else "both"
        raise click.UsageError(f"give either STUDY or --from CSV, not {given}")
    if source is not None and (root or plugin):
        raise click.UsageError("--from reads one file; leave --root and --plugin away")
    results = _of_file(source) if source is not None else _of_study(str(study), root, plugin)
    if cells:
        _show_cells(results, groups, as_json)
    else:
        _show_ranking(results, groups, as_json)


@dataclass(frozen=True)
class Results:
    """What is ranked; `challenge` are the rows of the challenge's score, None where there is no study."""

    name: str
    values: pl.DataFrame
    classes: Mapping[str, float]
    challenge: pl.DataFrame | None = None
    cautions: tuple[str, ...] = ()


def _of_file(source: str) -> Results:
    from harness.ranking import read_results

    found = read_results(source)
    if found.ignored:
        say(f"ignored: {', '.join(found.ignored)}", err=True)
    return Results(found.name, found.values, found.classes)


def _of_study(study: str, root: str | None, plugin: tuple[str, ...]) -> Results:
    from harness import registry

    registry.load(plugin)
    from harness.cli.challenge import stored_scores
    from harness.frames import trials
    from harness.planner import make_plan, make_plan_of_trials
    from harness.store import Store
    from harness.study import load_study
    from harness.views import cautions_of, classes_of, refuse_empty

    loaded, store = load_study(study), Store.open(root)
    plan, name = make_plan_of_trials(loaded), loaded.name
    if store.committed().isdisjoint(plan.units):
        refuse_empty(make_plan(loaded), store)  # its searches may have begun
    scores = stored_scores(store, name)
    return Results(name, trials(store, plan.units), classes_of(plan), scores, cautions_of(plan))


def _show_ranking(results: Results, groups: str, as_json: bool) -> None:
    import json
    from dataclasses import asdict

    from harness.cli.challenge import challenge_lines
    from harness.cli.ranking import ranking_text
    from harness.ranking import friedman_study, rank_study

    values, classes, challenge = results.values, results.classes, results.challenge
    frame = rank_study(values, study=results.name, classes=classes, groups=groups)  # type: ignore[arg-type]
    tests = friedman_study(values, classes=classes)
    if as_json:
        document: dict[str, Any] = {"rankings": frame.to_dicts(), "friedman": [asdict(test) for test in tests]}
        if challenge is not None and challenge.height:
            document["challenge"] = challenge.to_dicts()
        if results.cautions:
            document["cautions"] = list(results.cautions)
        say(json.dumps(document, allow_nan=False))
    else:
        say(ranking_text(frame, tests))
        for line in ["", *challenge_lines(challenge)] if challenge is not None and challenge.height else ():
            say(line)
        for caution in results.cautions:
            say(f"\n{caution}")


def _show_cells(results: Results, groups: str, as_json: bool) -> None:
    from harness.cli.ranking import cells_text
    from harness.ranking import compare_cells

    frame = compare_cells(results.values, classes=results.classes, groups=groups)  # type: ignore[arg-type]
    say(frame.write_json() if as_json else "\n\n".join([cells_text(frame), *results.cautions]))
