"""Whatever strangers write into names and texts of a study is text on its page: the page is built as a harmless one."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

import polars as pl
import pytest

from harness.report import ReportData, render
from harness.report.data import SHEETS

Parse = Callable[[str], Any]
WRITTEN = {
    "an element": "<img src=x onerror=alert(1)>",
    "a script": "</script><script>alert(1)</script>",
    "the end of an attribute": '" onmouseover="alert(1)" x=\'',
    "the end of the other kind": "' onfocus='alert(1)' autofocus x=\"",
    "the end of a picture": "]]></text></svg><foreignObject><iframe src=//x>",
    "the end of everything": "</style></title></table></section></body></html>",
    "a comment": "<!--><!-- --!><![CDATA[",
    "entities": "&lt;b&gt;&#60;i&#62;&amp;&quot;&nbsp;",
    "a template": "{{ 7*7 }}{% include 'page.js' %}{# #}{0.__class__}",
    "a formula": "$\\frac{1}{0}$ \\( \\href{javascript:x}{y} \\)",
    "an address": "javascript:alert(1)//https://x.example/",
    "what reorders": "\u202e\u2066\x00\x1b[2J\x08\r\n\x85\u2028",
}
WRITTEN["all of that"] = " ".join(WRITTEN.values())
ONE_BY_ONE = [pytest.param(kind, marks=pytest.mark.slow) for kind in WRITTEN if kind != "all of that"]
OWN = {"", "default", "original", "retrain", "no-op"}
"""Texts that the harness gives and that mean something to it."""
COLUMNS = {
    *("method", "config", "dataset", "scenario", "architecture", "pool", "study", "unit", "name", "png"),
    *("phase", "exception", "message", "traceback", "versions", "hyperparameters", "device", "host", "flags", "flag"),
    *("label", "what", "reference", "source"),
}


def marked(data: ReportData, mark: str) -> ReportData:
    """Return the data with a text behind every name and text of a stranger."""

    def named(text: str) -> str:
        return text if text in OWN else text + mark

    def framed(frame: pl.DataFrame) -> pl.DataFrame:
        columns = [name for name, kind in frame.schema.items() if name in COLUMNS and kind == pl.String]
        ours = pl.col(columns).is_in(list(OWN))
        return frame.with_columns(pl.when(ours).then(pl.col(columns)).otherwise(pl.col(columns) + mark))

    def changed(value: Any) -> Any:
        if isinstance(value, pl.DataFrame):
            return framed(value)
        if isinstance(value, str):
            return named(value)
        if isinstance(value, Mapping):
            return {named(key): changed(one) for key, one in value.items()}
        if isinstance(value, tuple):
            return tuple(map(changed, value))
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {field.name for field in dataclasses.fields(value)} & COLUMNS
            return dataclasses.replace(value, **{name: changed(getattr(value, name)) for name in fields})
        return value

    fields = {field.name: changed(getattr(data, field.name)) for field in dataclasses.fields(data)}
    unknown = data.trials.head(1).with_columns(metric=pl.lit(f"unknown{mark}"))
    trials = pl.concat([fields["trials"], framed(unknown)])
    return dataclasses.replace(data, **fields | {"trials": trials})


@pytest.fixture(scope="module")
def whole(make: Callable[..., ReportData], with_audit: Callable[[ReportData], ReportData]) -> ReportData:
    """Two cells with failures, an audit, a generator's sheet, and sentences about methods and scenarios."""
    methods = ("msg", "finetune", "neg_grad_plus", "gradient_ascent")
    cells = (("digits", "random:0.1", "cnn_small"), ("digits", "class:3", "cnn_small"))
    made = with_audit(make(methods=methods, cells=cells, failing=("gradient_ascent",)))
    sheet = {
        **dict.fromkeys(("unit", "dataset", "scenario", "architecture", "method", "config", "name", "png"), "x"),
        **dict(zip(("dataset", "scenario", "architecture"), cells[0], strict=True)),
        **{"status": "done", "seed": 0, "images": 4, "steps": 5, "work_seconds": 1.0},
    }
    return dataclasses.replace(
        made,
        sees_validation=("msg",),
        chosen_on_test=("finetune",),
        cautions=("Mind the gap.",),
        follows={"class:3": "random:0.1"},
        forget_classes={"class:3": (3,)},
        sheets=pl.DataFrame([sheet], schema=SHEETS),
    )


@pytest.fixture(scope="module")
def harmless(whole: ReportData, parse: Parse) -> Any:
    return parse(render(marked(whole, " plain")))


def built(page: Any) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """Return the elements of a page in their order, with the names of their attributes and what they are within.

    Where a long word may be broken follows from what is in it.
    """
    return [(one.name, tuple(one.attributes), one.parents) for one in page.elements if one.name != "wbr"]


@pytest.mark.parametrize("kind", ["all of that", *ONE_BY_ONE])
def test_a_page_is_built_alike_whatever_is_written(kind: str, whole: ReportData, harmless: Any, parse: Parse) -> None:
    text = render(marked(whole, WRITTEN[kind]))
    page = parse(text)
    assert built(page) == built(harmless)
    for name in ("script", "style"):
        (ours,), (theirs,) = page.named(name), harmless.named(name)
        assert name == "style" or ours.text == theirs.text
        assert "alert" not in ours.text
    for element in page.elements:
        assert not [name for name in element.attributes if name.startswith("on") or name == "style"]
        link = element.attributes.get("href", "#")
        assert re.match("#|data:,$|https://arxiv\\.org/abs/[0-9.]+$", link), link
        assert element.attributes.get("src", "data:image/png;base64,").startswith("data:image/png;base64,")
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)


def test_what_is_written_is_there_to_be_read(whole: ReportData, parse: Parse) -> None:
    """It would not be enough to leave it away."""
    mark = WRITTEN["a script"] + WRITTEN["entities"]
    page = parse(render(marked(whole, mark)))
    assert page.named("h1")[0].text == whole.question + mark
    texts = "\n".join(element.text for element in page.named("td", "th", "dd", "p"))
    for name in (
        "msg",
        "gradient_ascent",
        "CUDA out of memory: tried to allocate 2.00 GiB",
        "unknown",
        "Mind the gap.",
    ):
        assert name + mark in texts, name


def test_each_text_of_a_stranger_is_in_the_page_or_nowhere(whole: ReportData, parse: Parse) -> None:
    """The marks of this test reach the page: by every way there is, in text, in attributes and in pictures."""
    page = parse(render(marked(whole, "<mark>")))
    assert sum("<mark>" in element.text for element in page.named("text")) > 5
    assert sum("<mark>" in element.attributes.get("aria-label", "") for element in page.named("svg")) > 2
    assert sum("<mark>" in element.attributes.get("alt", "") for element in page.named("img")) == 1
    assert sum("<mark>" in element.text for element in page.named("code")) > 2
    assert sum("<mark>" in element.text for element in page.named("caption", "summary", "a", "h2", "h3", "h4")) > 2
