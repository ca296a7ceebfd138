"""The page: one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from markupsafe import Markup

from harness.errors import printable
from harness.report.context import Context
from harness.report.data import ReportData, finite_data
from harness.report.palette import variables
from harness.report.sections import make_answer, make_sections
from harness.report.svg import Inliner
from harness.report.views import View

_HERE = Path(__file__).parent


def render(data: ReportData) -> str:
    """Return the report of a study as one HTML page with its style, figures and script inside.

    It asks for nothing from anywhere, and its policy lets the browser run that one script (`page.js`, which sorts and
    filters tables) and nothing else. The same data give the same page.
    """
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
    page = environment.get_template("page.html").render(
        study=data.study,
        question=data.question or f"Study {data.study}",
        title_line=data.title_line,
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
    return "\n".join(map(printable, page.split("\n")))


def _hash(script: str) -> str:
    """Return the hash by which a Content-Security-Policy allows a script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
