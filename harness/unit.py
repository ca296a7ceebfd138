"""The unit: the smallest thing that is scheduled, cached, resumed and priced."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from functools import cached_property
from json.encoder import encode_basestring_ascii
from typing import Any, Literal, TypeVar

from harness.contracts.recipe import Recipe
from harness.contracts.space import Value
from harness.farm import FarmRef, PoolSpec
from harness.origin import SEARCH_VERSION, Origin, origin_of

Made = TypeVar("Made")

RESULTS_VERSION = 1
"""Raised when the engine's results change for every method at once; part of every id."""

RELEARN_VERSION = 1
"""Raised when relearning changes (`harness.engine.relearn`); part of the ids of its units."""

ATTACK_VERSION = 1
"""Raised when the three attackers change (`harness.attacks.trio`); part of the ids of the units that run them."""

COMPARE_VERSION = 1
"""Raised when the comparison with a retrain changes (`harness.metrics.likeness`); part of the ids of its units."""

PROBE_VERSION = 1
"""Raised when the probes of what is left in a model change (`harness.work.probe`); part of the ids of their units."""

DEFAULT = "default"
"""The origin of hyperparameters that nobody set."""


KeepModels = Literal["original", "none", "all", "farm"]
"""Whose weights stay in the store at the end: those of originals and artifacts, nobody's, also those of retrains and
unlearned models, or (`farm`) of all these and of the farm's models, too."""

Resources = Literal["auto"] | Mapping[str, float]
"""What is set aside for a unit: `auto`, or CPU cores and a share of one GPU, `{"cpu": 1, "gpu": 0.25}`."""


class Kind(StrEnum):
    """The kinds of unit, in the order of the stages that run them."""

    ORIGINAL = "original"
    RETRAIN = "retrain"
    ARTIFACT = "artifact"
    SEARCH = "search"
    UNLEARN = "unlearn"
    RELEARN = "relearn"
    ATTACK = "attack"
    COMPARE = "compare"
    PROBE = "probe"
    SHADOW = "shadow"
    SHADOW_RETRAIN = "shadow_retrain"
    SHADOW_UNLEARN = "shadow_unlearn"
    TIMING = "timing"

    @property
    def of_farm(self) -> bool:
        """Whether the unit belongs to the shadow-model farm; its seed is then the number of the shadow."""
        return self in (Kind.SHADOW, Kind.SHADOW_RETRAIN, Kind.SHADOW_UNLEARN)

    @property
    def of_trial(self) -> bool:
        """Whether the unit looks at the model of a trial, the first of its needs."""
        return self in (Kind.RELEARN, Kind.ATTACK, Kind.COMPARE, Kind.PROBE)

    @property
    def from_scratch(self) -> bool:
        """Whether the unit's model is one that methods start from."""
        return self in (Kind.ORIGINAL, Kind.SHADOW)


@dataclass(frozen=True)
class DatasetRef:
    """A data set as a unit names it: `count` images of it (0: all), `digest` that of the official files.

    `tampering` says what is done to its training images before anything else, such as `poison:100`; empty: nothing.
    """

    name: str
    version: int
    digest: str
    count: int = 0
    tampering: str = ""

    @property
    def label(self) -> str:
        """`fashion_mnist`, `fashion_mnist@10000` for a subset, `fashion_mnist@10000+poison:100` if tampered with."""
        label = f"{self.name}@{self.count}" if self.count else self.name
        return f"{label}+{self.tampering}" if self.tampering else label


@dataclass(frozen=True)
class Named:
    """A scenario, architecture or method as a unit names it: its name (or text) and version."""

    name: str
    version: int


@dataclass(frozen=True)
class Unit:
    """One unit of work; equal questions give equal ids, before anything runs and on any machine.

    `config` names the origin of the hyperparameters (`default`, the given values, a suggestion or a search), `values`
    are the given ones. Those that a search draws are no part of the id: `origin` determines them, and the driver puts
    them into `drawn` once they are known. `needs` are ids of units whose models it starts from or looks at, `evidence`
    those of the models by which its scenario divides the training images, in the order of the scenario.

    `started_from` says that a unit of the plan starts from this one's model, where its kind does not say so. It is no
    part of the id, since it changes no result. The planner sets it, because whoever performs a unit sees no plan, and
    has to know whether to leave weights behind.
    """

    kind: Kind
    dataset: DatasetRef
    scenario: Named
    architecture: Named
    method: Named
    recipe: Recipe
    seed: int
    config: str = DEFAULT
    values: Mapping[str, Value] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    farm: FarmRef | None = None
    pool: str = ""
    """The audit pool that a unit of the farm forgets."""
    origin: Origin | None = None
    drawn: Mapping[str, Value] | None = None
    started_from: bool = False
    evidence: tuple[str, ...] = ()

    @property
    def comes_after(self) -> tuple[str, ...]:
        """The ids of all units whose weights must be there before it begins."""
        return (*self.needs, *self.evidence)

    @property
    def is_start(self) -> bool:
        """Whether others may start from its model, so that its weights must be there until they have ended."""
        return self.kind.from_scratch or self.kind == Kind.ARTIFACT or self.started_from

    @property
    def hyperparameters(self) -> dict[str, Value]:
        """The given and the drawn ones; others have their defaults."""
        return {**self.values, **(self.drawn or {})}

    def but(self, **changes: Any) -> Unit:
        """Return a unit with other values of some fields; for tens of thousands, `dataclasses.replace` takes ten times
        as long."""
        other = object.__new__(Unit)
        vars(other).update(vars(self), **changes)
        vars(other).pop("id", None)
        return other

    def identity(self) -> dict[str, Any]:
        """Return what the results depend on, and nothing else: no host, device, thread count or path."""
        return {name: _content(part) for name, part in self._identifying().items()}

    @cached_property
    def id(self) -> str:
        """The first 20 hex digits of the sha256 of the identity's canonical JSON: keys sorted, no blanks, ASCII."""
        named = [f'"{name}":{_text(part)}' for name, part in self._identifying().items()]
        return hashlib.sha256(f"{{{','.join(sorted(named))}}}".encode()).hexdigest()[:20]

    def _identifying(self) -> dict[str, Any]:
        """Return the parts of the identity by name, in no order; what is empty is no part of it."""
        own = vars(self)
        parts = {name: own[name] for name in _IDENTIFYING if own[name] is not None and own[name] != ""}
        if not self.evidence:
            del parts["evidence"]  # ids are older than it
        if self.origin is not None:
            parts["search_version"] = SEARCH_VERSION
        if self.kind in _VERSIONS:
            parts[f"{self.kind}_version"] = _VERSIONS[self.kind]
        parts["results_version"] = RESULTS_VERSION
        return parts

    @property
    def cell(self) -> tuple[str, str, str]:
        """Data set, scenario and architecture: where a retrain is comparable."""
        return self.dataset.label, self.scenario.name, self.architecture.name

    @property
    def stream(self) -> str:
        """What sets the random numbers of a farm's units apart from those of trials with the same method and seed."""
        return "" if self.farm is None else self.scenario.name

    def columns(self) -> dict[str, Any]:
        """Return the identity columns that every row about this unit carries (all but the attempt)."""
        return {
            "unit": self.id,
            "kind": self.kind.value,
            "dataset": self.dataset.label,
            "scenario": self.scenario.name,
            "architecture": self.architecture.name,
            "method": self.method.name,
            "config": self.config,
            "seed": self.seed,
        }

    def __str__(self) -> str:
        cell = " ".join(filter(None, (self.dataset.label, self.scenario.name, self.architecture.name)))
        config = "" if self.config == DEFAULT else f" ({self.config})"
        return f"{self.kind.value} {self.method.name}{config} on {cell}, seed {self.seed}"

    def to_json(self) -> dict[str, Any]:
        """Return a JSON document from which `from_json` makes the same unit; it shares its parts with those of other
        units, and none of them is to be changed."""
        own = vars(self)
        return {
            name: _document(own[name]) if hasattr(own[name], "__dataclass_fields__") else own[name] for name in _FIELDS
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Unit:
        """Return the unit of a document made by `to_json`."""
        return cls(
            kind=Kind(document["kind"]),
            dataset=DatasetRef(**document["dataset"]),
            scenario=Named(**document["scenario"]),
            architecture=Named(**document["architecture"]),
            method=Named(**document["method"]),
            recipe=Recipe(**document["recipe"]),
            seed=document["seed"],
            config=document["config"],
            values=dict(document["values"]),
            needs=tuple(document["needs"]),
            farm=_farm(document.get("farm")),
            pool=document.get("pool", ""),
            origin=origin_of(document.get("origin")),
            drawn=document.get("drawn"),
            started_from=document.get("started_from", False),
            evidence=tuple(document.get("evidence", ())),
        )


_FIELDS = tuple(one.name for one in fields(Unit))
_MOST_SHARED = 4096
_IDENTIFYING = tuple(name for name in _FIELDS if name not in ("drawn", "started_from"))
_VERSIONS = {
    Kind.RELEARN: RELEARN_VERSION,
    Kind.ATTACK: ATTACK_VERSION,
    Kind.COMPARE: COMPARE_VERSION,
    Kind.PROBE: PROBE_VERSION,
}
_ONLY_WHERE_SET = ("tampering",)
"""What the document of a part leaves out where it is empty: ids are older than it."""
_FIRST_OPTIMIZER = Recipe().optimizer
"""Left out, too: ids are older than the choice."""


def _content(part: Any) -> Any:
    """Return what counts of a part of an identity."""
    if isinstance(part, FarmRef):
        return part.identity()
    return dict(_document(part)) if hasattr(part, "__dataclass_fields__") else part


def _of_shared(make: Callable[[Any], Made]) -> Callable[[Any], Made]:
    """Return a function that makes the same of the same part only once. Tens of thousands of units share a few data
    sets, recipes and searches, the very objects; to ask whether two are equal would take longer than all else of an id.
    """
    known: dict[int, tuple[Any, Made]] = {}

    def of(part: Any) -> Made:
        found = known.get(id(part))
        if found is None or found[0] is not part:
            if len(known) == _MOST_SHARED:
                known.clear()
            found = known[id(part)] = part, make(part)
        return found[1]

    return of


def _text(part: Any) -> str:
    """Return the canonical JSON of a part."""
    if isinstance(part, str):
        return encode_basestring_ascii(part)
    if isinstance(part, dict):
        return _canonical(part) if part else "{}"
    return _shared_text(part)


_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode


@_of_shared
def _shared_text(part: Any) -> str:
    return _canonical(_content(part))


@_of_shared
def _document(part: Any) -> dict[str, Any]:
    given = {name: value for name, value in asdict(part).items() if value or name not in _ONLY_WHERE_SET}
    if given.get("optimizer") == _FIRST_OPTIMIZER:
        del given["optimizer"]
    return given


def _farm(document: Mapping[str, Any] | None) -> FarmRef | None:
    """Return the farm of a document; one from before there were designs and queries has the defaults."""
    if document is None:
        return None
    pools = tuple(PoolSpec(**pool) for pool in document["pools"])
    later = {"design": document["design"], "queries": tuple(document["queries"])} if "design" in document else {}
    return FarmRef(pools, document["seed"], **later)


def keeps_model(unit: Unit, keep: KeepModels) -> bool:
    """Whether the weights of a unit stay in the store when a study has ended; those of the farm only by `farm`."""
    if keep == "farm":
        return unit.kind not in (Kind.TIMING, Kind.SEARCH) and not unit.kind.of_trial
    trials = (Kind.ORIGINAL, Kind.ARTIFACT, Kind.RETRAIN, Kind.UNLEARN)
    if keep == "original":
        return unit.kind in (Kind.ORIGINAL, Kind.ARTIFACT)
    return unit.kind in trials and keep == "all"
