"""Names to things: loads the built-in tasks and plug-ins, and finds by name or glob."""

from __future__ import annotations

import fnmatch
import importlib
import pkgutil
import sys
from collections.abc import Iterable
from functools import cache
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from harness.contracts.architecture import ARCHITECTURES
from harness.contracts.catalog import Catalog, Declared
from harness.contracts.dataset import DATASETS
from harness.contracts.method import METHODS, MethodSpec
from harness.contracts.run import TrainingArtifact
from harness.contracts.scenario import SCENARIOS, InvalidScenario, Scenario, Tampering
from harness.errors import HarnessError, did_you_mean
from harness.process.garbage import not_sought

BUILT_IN = ("tasks",)
ENTRY_POINTS = "harness.tasks"
CATALOGS: dict[str, Catalog[Declared]] = {
    "datasets": DATASETS,  # type: ignore[dict-item]
    "scenarios": SCENARIOS,  # type: ignore[dict-item]
    "architectures": ARCHITECTURES,  # type: ignore[dict-item]
    "methods": METHODS,  # type: ignore[dict-item]
}

T = TypeVar("T", bound=Declared)


class UnknownName(HarnessError):
    """A name that no data set, scenario, architecture, method or suite has."""


class PluginMissing(HarnessError):
    """A plug-in module that cannot be imported."""


@cache
@not_sought()
def load(plugins: tuple[str, ...] = ()) -> None:
    """Import every module of the built-in tasks, of the installed plug-ins and of the named ones.

    A named one may lie in the working folder.
    """
    for name in BUILT_IN:
        _import_all(importlib.import_module(name))
    if plugins:
        _look_in(Path.cwd())
    for name in (*(point.module for point in entry_points(group=ENTRY_POINTS)), *plugins):
        try:
            _import_all(importlib.import_module(name))
        except HarnessError:
            raise
        except Exception as error:  # whatever the code of others does when it is imported
            raise PluginMissing(f"plugin {name!r} cannot be imported: {type(error).__name__}: {error}") from error


def declared_in(file: str) -> list[MethodSpec]:
    """Import a file and return the methods that it declares; raise `PluginMissing` if there are none."""
    path = Path(file).resolve()
    if not path.is_file():
        raise PluginMissing(f"no file {file}; begin one with: harness init --method {file}")
    _look_in(path.parent)
    load((path.stem,))
    found = [METHODS[name] for name in METHODS if METHODS[name].module == path.stem]
    if not found:
        raise PluginMissing(f"{file} declares no method; put @method(reads={{...}}, source=...) before a class")
    return found


def _look_in(folder: Path) -> None:
    """Let modules be imported from a folder, after all other places."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def _import_all(package: ModuleType) -> None:
    for found in pkgutil.walk_packages(getattr(package, "__path__", []), package.__name__ + "."):
        importlib.import_module(found.name)


def find(catalog: Catalog[T], name: str) -> T:
    """Return a declared thing, or raise `UnknownName` with the nearest name."""
    load()
    if name not in catalog:
        raise UnknownName(f"no {catalog.kind} {name!r}{did_you_mean(name, catalog)}")
    return catalog[name]


def match(catalog: Catalog[T], pattern: str) -> list[T]:
    """Return the things whose names match: a name, a glob such as `neg_*`, or `all`."""
    load()
    if pattern == "all":
        return [catalog[name] for name in catalog]
    if not any(sign in pattern for sign in "*?["):
        return [find(catalog, pattern)]
    names = fnmatch.filter(catalog, pattern)
    if not names:
        raise UnknownName(f"no {catalog.kind} matches {pattern!r}; known: {', '.join(catalog)}")
    return [catalog[name] for name in names]


def parse_scenario(text: str) -> Scenario:
    """Return the scenario that a text such as `random:0.1` names."""
    name, colon, argument = text.partition(":")
    spec = find(SCENARIOS, name)
    if not colon:
        raise InvalidScenario(f"scenario {text!r} lacks its argument, such as {spec.example}")
    scenario: Scenario = spec.cls.parse(argument)
    return scenario


def stands_for_several(text: str) -> bool:
    """Whether a text such as `class:*` stands for several scenarios."""
    name, _, argument = text.partition(":")
    return argument == "*" and hasattr(find(SCENARIOS, name).cls, "each")


def expand_scenario(text: str, classes: int) -> list[str]:
    """Return what a text stands for on a data set of so many classes: `class:*` is each class in turn."""
    name, _, _ = text.partition(":")
    cls = find(SCENARIOS, name).cls
    if stands_for_several(text):
        return [f"{name}:{argument}" for argument in cls.each(classes)]
    return list(cls.stands_for(parse_scenario(text), classes)) if hasattr(cls, "stands_for") else [text]


def tampering_of(scenario: str) -> str:
    """Return the text of what a scenario has done to the training data; empty for most: nothing."""
    tampering = getattr(parse_scenario(scenario), "tampering", None)
    return "" if tampering is None else str(tampering)


def parse_tampering(text: str) -> Tampering:
    """Return the tampering that a text such as `poison:100` names."""
    name, _, argument = text.partition(":")
    tampering: Tampering = find(SCENARIOS, name).cls.tampering_of(argument)
    return tampering


def follows(scenario: str) -> str:
    """Return the request before a scenario, whose models its methods start from; empty for most: the original."""
    return str(getattr(parse_scenario(scenario), "follows", ""))


def evidence_of(scenario: str) -> tuple[TrainingArtifact | None, ...]:
    """Return the models without which a scenario cannot divide its images, None for the original; mostly nothing."""
    parsed = parse_scenario(scenario)
    return tuple(parsed.evidence()) if hasattr(parsed, "evidence") else ()


def caution_of(scenario: str) -> str:
    """Return what has to be said wherever the numbers of a scenario are shown; empty for most."""
    return str(getattr(parse_scenario(scenario), "caution", ""))


def suites() -> dict[str, Path]:
    """Return the studies that ship with the built-in tasks, by name."""
    folders: Iterable[Path] = (Path(str(files(name))) / "suites" for name in BUILT_IN)
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.yaml"))}
