"""The picture of both attacks: the numbers of the tables, in the order of the ranking, as a file of its own."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import polars as pl
import pytest

from harness.report import ReportData, contrast_figure
from harness.report.contrast import HEAD, NAMES, NUMBERS, TITLE, USUAL, WIDTH
from harness.report.palette import GROUND, INK, METHODS
from harness.report.picture import main
from harness.report.scales import Scale
from harness.report.svg import standalone
from harness.store import Store

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORDER = ["msg", "ct", "finetune", "successive_random_labels", "gradient_ascent", "retrain", "original"]
SERIES = {"usual": INK.light, "canary": METHODS[1].light, "clean": METHODS[0].light}


@pytest.fixture(scope="module")
def audit(data: ReportData, with_audit: Callable[[ReportData], ReportData]) -> ReportData:
    return with_audit(data)


def marks(figure: Figure) -> list[Any]:
    return [artist for artist in figure.artists if hasattr(artist, "get_markerfacecolor")]


def seen(figure: Figure, series: str) -> list[float]:
    """Return the values at which the marks of an attack lie, from the top."""
    scale = Scale(0.4, 1.0, NAMES, WIDTH - NUMBERS)
    own = [line for line in marks(figure) if line.get_color() == SERIES[series]]
    places = sorted((line.get_ydata()[0], line.get_xdata()[0]) for line in own)
    return [0.4 + 0.6 * (x - scale.start) / (scale.end - scale.start) for y, x in places if y > HEAD]


def of_audit(attacks: pl.DataFrame, pool: str) -> dict[str, float]:
    own = attacks.filter(pl.col("pool") == pool, pl.col("null") == "O", pl.col("level") == "L2")
    return dict(own.filter(pl.col("metric") == "auc").select("method", "value").rows())


def test_the_marks_are_the_numbers_of_the_tables_in_the_order_of_the_ranking(audit: ReportData) -> None:
    figure = contrast_figure(audit.rankings, audit.attacks)
    rows = audit.rankings.filter(pl.col("group") == "overall", pl.col("metric") == USUAL)
    usual = dict(rows.select("method", "value").rows())
    assert seen(figure, "usual") == pytest.approx([usual[one] for one in ORDER if usual.get(one) is not None])
    for pool in ("canary", "clean"):
        values = of_audit(audit.attacks, pool)
        assert seen(figure, pool) == pytest.approx([values[one] for one in ORDER if one in values])
    written = [text.get_text() for text in figure.texts]
    assert [text for text in written if text in ORDER] == ORDER
    assert {TITLE, "guessing", "usual population attack", "U-LiRA, canary images", "U-LiRA, clean images"} < {*written}
    hollow = {line.get_color() for line in marks(figure) if line.get_markerfacecolor() == GROUND.light}
    assert hollow == {SERIES["usual"]}


def test_what_lies_beyond_the_axis_is_marked_at_its_edge(audit: ReportData) -> None:
    low = audit.attacks.with_columns(value=pl.when(pl.col("method") == "ct").then(0.2).otherwise("value"))
    figure = contrast_figure(audit.rankings, low)
    assert len(seen(figure, "canary")) == len(of_audit(low, "canary")) - 1
    written = [text.get_text() for text in figure.texts]
    assert "\u2039" in written
    assert "0.20" in written


@pytest.mark.parametrize("missing", [("rankings",), ("attacks",), ("rankings", "attacks")])
def test_without_one_attack_or_both_there_is_a_figure(missing: tuple[str, ...], audit: ReportData) -> None:
    frames = {name: getattr(audit, name) for name in ("rankings", "attacks")}
    frames |= {name: frames[name].clear() for name in missing}
    figure = contrast_figure(**frames)
    figure.savefig(io.BytesIO(), format="png", dpi=72)
    assert bool(seen(figure, "usual")) == ("rankings" not in missing)
    assert bool(seen(figure, "canary")) == ("attacks" not in missing)


def test_an_audit_of_several_places_has_no_one_number(audit: ReportData) -> None:
    attacks = pl.concat([audit.attacks, audit.attacks.with_columns(architecture=pl.lit("resnet18"))])
    figure = contrast_figure(audit.rankings, attacks)
    assert seen(figure, "usual")
    assert not seen(figure, "canary")


def test_the_file_is_the_same_for_the_same_rows_and_stands_by_itself(audit: ReportData) -> None:
    text = standalone(contrast_figure(audit.rankings, audit.attacks), TITLE)
    shuffled = [frame.sample(fraction=1, shuffle=True, seed=3) for frame in (audit.rankings, audit.attacks)]
    assert standalone(contrast_figure(*shuffled), TITLE) == text
    root = ElementTree.fromstring(text)
    assert (root.attrib["width"], root.attrib["viewBox"].split()[2]) == ("860px", "860")
    assert root.attrib["height"].endswith("px")
    assert root[0].text == TITLE
    assert set(re.findall(r"font-family: ([^;\"]*)", text)) == {"sans-serif"}
    assert f"fill: {GROUND.light}" in text
    assert "<image" not in text
    assert ">gradient_ascent</text>" in text


def test_the_command_writes_what_the_root_holds(
    audit: ReportData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store.open(str(tmp_path / "root"), write=True)
    store.replace("rankings", audit.rankings, {"study": "digits"})
    store.replace("attacks", audit.attacks, {"study": "digits"})
    out = tmp_path / "picture.svg"
    monkeypatch.setattr(sys, "argv", ["picture", "digits", store.uri, str(out)])
    main()
    assert out.read_text(encoding="utf-8") == standalone(contrast_figure(audit.rankings, audit.attacks), TITLE)
    monkeypatch.setattr(sys, "argv", ["picture", "fashion", store.uri, str(out)])
    with pytest.raises(SystemExit):
        main()
    assert "no ranking or no audit of 'fashion'" in capsys.readouterr().err
