"""What competitors are called: the method, and of several settings of one those that tell them apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable


def labels(competitors: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Return a label for each competitor (method, config) of a study, no two of them alike.

    A config is a list such as `lr=0.1,epochs=5`, or a word such as `default`. What all configs of a method have in
    common is left out: `lr=0.1,epochs=5` beside `lr=0.1` becomes `method (epochs=5)` beside `method`.
    """
    settings: dict[str, dict[str, list[str]]] = defaultdict(dict)
    for method, config in competitors:
        settings[method][config] = config.split(",")
    return {
        (method, config): _label(method, config, given, list(configs.values()))
        for method, configs in settings.items()
        for config, given in configs.items()
    }


def _label(method: str, config: str, given: list[str], configs: list[list[str]]) -> str:
    if len(configs) == 1:
        return method
    common = set(given).intersection(*configs)
    own = ",".join(one for one in given if one not in common)
    return f"{method} ({own})" if own else method
