"""The figures are matplotlib figures by themselves, drawn without pyplot."""

from __future__ import annotations

import dataclasses
import io
import subprocess
import sys
from collections.abc import Callable

import polars as pl
import pytest

from harness.report import ReportData, curves_figure, forest_figure, ranking_figure, tradeoff_figure
from harness.report.curves import curve_panels
from harness.report.forest import Estimate, forest_panel
from harness.report.meanings import read_meanings
from harness.report.page import render
from harness.report.roster import make_roster

FIGURES: dict[str, Callable[[ReportData], object]] = {
    "ranking": lambda data: ranking_figure(data.rankings, data.definitions),
    "tradeoff": lambda data: tradeoff_figure(data.trials, data.definitions),
    "forest": lambda data: forest_figure(data.trials, data.definitions, ["accuracy_test", "time_ratio"]),
    "curves": lambda data: curves_figure(data.epochs),
}


@pytest.mark.parametrize("name", FIGURES)
def test_each_figure_can_be_saved_as_a_picture(name: str, data: ReportData) -> None:
    from matplotlib.figure import Figure

    figure = FIGURES[name](data)
    assert isinstance(figure, Figure)
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=100)
    assert target.getvalue()[:8] == b"\x89PNG\r\n\x1a\n"
    assert figure.get_facecolor()[3] == 0


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_of_nothing_can_be_saved_too(name: str, data: ReportData) -> None:
    frames = {field.name: getattr(data, field.name) for field in dataclasses.fields(data)}
    empty = {key: frame.clear() for key, frame in frames.items() if isinstance(frame, pl.DataFrame)}
    figure = FIGURES[name](dataclasses.replace(data, **empty))
    figure.savefig(io.BytesIO(), format="png", dpi=72)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", FIGURES)
def test_each_figure_names_every_method(name: str, data: ReportData) -> None:
    figure = FIGURES[name](data)
    written = " ".join(text.get_text() for text in figure.texts)  # type: ignore[attr-defined]
    for method in ("msg", "ct", "finetune", "successive_random"):
        assert method in written


def test_importing_the_room_costs_no_matplotlib_and_drawing_no_pyplot() -> None:
    code = (
        "import sys, harness.report as report\n"
        "heavy = {'matplotlib', 'jinja2', 'torch', 'ray', 'mlflow'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "from harness.report.sheet import Panel, compose\n"
        "from harness.report.svg import Inliner\n"
        "Inliner().inline(compose([Panel(9, 9, '', lambda sheet: sheet.marks([(4, 4)]))]), '')\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_method_looks_the_same_in_every_figure_and_study_order(data: ReportData) -> None:
    by_rank, by_trials = make_roster(data.rankings, data.trials), make_roster(data.trials)
    looks = [{entry.competitor: (entry.colour, entry.marker) for entry in roster} for roster in (by_rank, by_trials)]
    assert looks[0] == looks[1]
    assert [entry.method for entry in by_rank] == [
        *("msg", "ct", "finetune", "successive_random_labels"),
        *("gradient_ascent", "retrain", "original"),
    ]


def test_several_configs_of_a_method_are_told_apart(data: ReportData) -> None:
    frame = pl.DataFrame({"method": ["a", "a", "b"], "config": ["default", "lr=0.1", "lr=0.2"]})
    assert [entry.label for entry in make_roster(frame)] == ["a (default)", "a (lr=0.1)", "b"]


def test_curves_are_drawn_over_all_epochs_of_all_seeds(data: ReportData) -> None:
    panels = curve_panels(data.epochs, make_roster(data.rankings, data.trials))
    assert len(panels) == 5
    first = data.epochs.filter(pl.col("method") == "msg", pl.col("epoch") == 0)["forget"].mean()
    assert panels[0].words.startswith(f"msg, 5 epochs: forget accuracy from {first:.3f} to ")


def test_a_failed_method_does_not_stretch_the_scale(data: ReportData) -> None:
    roster = make_roster(data.rankings)
    meaning = read_meanings(data.definitions)["accuracy_test"]
    found = {entry.competitor: Estimate(0.9 + 0.01 * place, None, None) for place, entry in enumerate(roster)}
    found["gradient_ascent", "default"] = Estimate(0.1, 0.05, 0.15, (0.1,))
    texts = []

    class Spy:
        def __getattr__(self, name: str) -> Callable[..., None]:
            return lambda *args, **_: texts.append(args[1]) if name == "text" else None

    forest_panel(found, meaning, roster).draw(Spy())  # type: ignore[arg-type]
    assert "\u2039" in texts
    assert "0.10" in texts
    assert all(float(tick) >= 0.85 for tick in texts if tick.replace(".", "").isdecimal() and tick != "0.10")


def test_of_too_many_methods_the_first_ones_are_named_and_the_page_says_how_many_are_not(
    make: Callable[..., ReportData],
) -> None:
    many = make(methods=[f"method_{place:02d}" for place in range(30)])
    text = render(many)
    assert "The first 24 methods have their names and intervals, 6 more are marks." in text
    assert "more are marks" not in render(make(methods=[f"method_{place:02d}" for place in range(24)]))
    from matplotlib.text import Text

    figure = tradeoff_figure(many.trials, many.definitions)
    drawn = {label.get_text() for label in figure.findobj(Text)}
    named = {name for name in drawn if name.startswith("method_")}
    assert len(named) == 24
    assert {"retrain", "original"} <= drawn
