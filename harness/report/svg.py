"""From a matplotlib figure to a small SVG that stands inside a page and takes the page's colours and font."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from markupsafe import Markup, escape

from harness.report.palette import COLOURS
from harness.report.sheet import FONT

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SVG, _LINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"
_SETTINGS: Any = {"svg.fonttype": "none", "svg.hashsalt": "harness", "path.simplify": False}
_NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
_PLACE = re.compile(r"([ML])([\d.-]+) ([\d.-]+)")
_VARIABLES = {colour.light: f"var(--{colour.variable})" for colour in COLOURS}
_COLOUR = re.compile("|".join(_VARIABLES))


class Inliner:
    """Turns the figures of one page into inline SVG.

    What occurs again and again is written once for the page: styles become classes, marks shapes to `use`.
    """

    def __init__(self) -> None:
        self._classes: dict[str, str] = {}
        self._shapes: dict[str, str] = {}

    def inline(self, figure: Figure, words: str) -> Markup:
        """Return the figure as an `<svg>` element.

        `words` say what it shows to those who cannot see it; without words it is an ornament, hidden from
        them.
        """
        root = ElementTree.fromstring(_svg_text(figure))
        content = "".join(self._elements(root, _marks(root)))
        _, _, width, height = root.attrib["viewBox"].split()
        role = Markup('role="img" aria-label="{}"').format(words) if words else Markup('aria-hidden="true"')
        head = Markup('<svg {} viewBox="0 0 {} {}">').format(role, width, height)
        return head + Markup(content) + Markup("</svg>")

    def style_sheet(self) -> Markup:
        """Return the rules of all classes so far."""
        return Markup("".join(f".{name}{{{style}}}" for style, name in self._classes.items()))

    def shapes(self) -> Markup:
        """Return the shapes of all marks so far."""
        return Markup("".join(f'<path id="{name}" d="{path}"/>' for path, name in self._shapes.items()))

    def _elements(self, parent: Element, marks: Mapping[str, Element]) -> Iterator[str]:
        for element in parent:
            name = element.tag.removeprefix(_SVG)
            if name == "g":
                yield from self._elements(element, marks)
            elif name == "use":
                yield f"<use{self._use(element, marks)}/>"
            elif name == "text":
                yield f"<text{self._text(element)}>{escape(element.text or '')}</text>"
            elif name == "path" and element.get("d") and not _is_ground(element):
                yield f'<path{self._class(element)} d="{_shorter(element.attrib["d"])}"/>'

    def _use(self, element: Element, marks: Mapping[str, Element]) -> str:
        mark = marks[element.attrib[_LINK].removeprefix("#")]
        path = _shorter(mark.attrib["d"], 2)
        shape = self._shapes.setdefault(path, f"k{len(self._shapes)}")
        return f'{self._class(mark, element)} href="#{shape}"{_at(element)}'

    def _text(self, element: Element) -> str:
        return f"{self._class(element)}{_at(element)}"

    def _class(self, *elements: Element) -> str:
        style = _style(*(element.get("style", "") for element in elements))
        return f' class="{self._classes.setdefault(style, f"s{len(self._classes)}")}"' if style else ""


def standalone(figure: Figure, title: str) -> str:
    """Return the figure as an SVG file: sizes in pixels, text as text in the reader's sans-serif font."""
    text = _svg_text(figure, title).replace(f"'{FONT}'", "sans-serif")
    return re.sub(r'(width|height)="([\d.]+)pt"', r'\1="\2px"', text, count=2)


def _svg_text(figure: Figure, title: str = "") -> str:
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    target = io.StringIO()
    with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
        # The reader's fonts draw the text; it does not matter what matplotlib's own lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing", category=UserWarning)
        about = {"Title": title} if title else {}
        metadata = {**about, "Date": None, "Creator": None}
        FigureCanvasSVG(figure).print_svg(target, metadata=metadata)  # type: ignore[no-untyped-call]
    return target.getvalue()


def _marks(root: Element) -> dict[str, Element]:
    return {path.attrib["id"]: path for path in root.iterfind(f".//{_SVG}defs/{_SVG}path")}


def _is_ground(element: Element) -> bool:
    style = element.get("style", "")
    return "fill: none" in style and "stroke:" not in style


def _at(element: Element) -> str:
    return "".join(f' {name}="{_shorter(element.attrib[name])}"' for name in ("x", "y"))


def _style(*styles: str) -> str:
    """Return styles, later ones first, with the page's colours and without a font."""
    pairs: dict[str, str] = {}
    for part in ";".join(styles).split(";"):
        name, _, value = part.partition(":")
        pairs[name.strip()] = value.strip()
    kept = (f"{name}:{value}" for name, value in pairs.items() if value and name != "font-family")
    return _COLOUR.sub(lambda match: _VARIABLES[match.group()], ";".join(kept))


def _shorter(text: str, digits: int = 1) -> str:
    """Return path data or a coordinate with few decimals and no needless spaces."""
    rounded = _NUMBER.sub(lambda match: f"{round(float(match.group()), digits):g}", text)
    packed = re.sub(r" ?([MLCQz]) ?", r"\1", " ".join(rounded.split()))
    return _in_steps(packed) if set("CQz").isdisjoint(packed) else packed


def _in_steps(path: str) -> str:
    """Return a path of lines with each place as a step from the one before, which has fewer digits."""
    written, x, y = [], 0.0, 0.0
    for command, next_x, next_y in _PLACE.findall(path):
        across, down = round(float(next_x) - x, 1), round(float(next_y) - y, 1)
        step = f"h{across:g}" if down == 0 else f"l{across:g} {down:g}".replace(" -", "-")
        written.append(step if command == "L" else f"M{next_x} {next_y}")
        x, y = float(next_x), float(next_y)
    return "".join(written) or path
