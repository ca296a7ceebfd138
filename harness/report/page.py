"""The page: one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
from pathlib import Path

from markupsafe import Markup

from harness.report.context import Context
from harness.report.data import ReportData, finite_data
from harness.report.palette import variables
from harness.report.roster import printable
from harness.report.sections import make_answer, make_sections
from harness.report.svg import Inliner
from harness.report.views import View

_HERE = Path(__file__).parent


def write_report(data: ReportData, path: Path) -> Path:
    """Write the report of a study to `path`, whole or not at all, and return `path`.

    One HTML file with its style, figures and script inside: it asks for nothing from anywhere, and its policy lets the
    browser run that one script (`page.js`, which sorts and filters tables) and nothing else.
    The same data give the same bytes. Folders that are missing are made.
    """
    text = render(data)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return path


def render(data: ReportData) -> str:
    """Return the page as HTML."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    inliner = Inliner()
    context = Context(finite_data(data), inliner)
    whole = View(context)
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    sections, answer = make_sections(context, whole), make_answer(context, whole)
    return environment.get_template("page.html").render(
        study=printable(data.study),
        question=printable(data.question or f"Study {data.study}"),
        title_line=printable(data.title_line),
        answer=answer,
        sections=sections,
        style=Markup((_HERE / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=_hash(script),
        light=Markup(variables("light")),
        dark=Markup(variables("dark")),
        figure_style=inliner.style_sheet(),
        shapes=inliner.shapes(),
    )


def _hash(script: str) -> str:
    """Return the hash by which a Content-Security-Policy allows a script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
