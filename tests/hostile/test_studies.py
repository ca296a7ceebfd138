"""Study files: whatever stands in one, there is a plan or one line, and no folder changes."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
import tiny_study
import yaml
from hypothesis import strategies as st
from tiny_hostile import BAD_NAMES, ESCAPE, MARKUP, asked, fuzz, judge, kept_to, lanes, listing, one_line, outcome
from tiny_mutants import Long, mutated, numbers, texts, values

from harness import registry
from harness.contracts import METHODS, SCENARIOS
from harness.planner import MOST_UNITS, PlanTooLarge, make_plan, with_needs
from harness.study import load_study
from harness.yamlfile import MOST_BYTES, InvalidFile, YamlFile

registry.load()
FULL: dict[str, Any] = {
    "name": "full",
    "question": "Does it hold?",
    "datasets": ["digits"],
    "architectures": ["cnn_small"],
    "scenarios": ["random:0.1", "class:3", "sequence:2:0.02", "poison:20:0.5"],
    "methods": ["finetune", {"ct": {"lr": 0.1, "epochs": 1}}, "neg_*", {"scrub": {"variant": "reference"}}],
    "seeds": 2,
    "originals": "shared",
    "recipe": {"epochs": 1, "batch_size": 32, "lr": 0.1, "momentum": 0.9, "weight_decay": 0.0, "schedule": "cosine"},
    "farm": {
        "shadows": 4,
        "retrains": 2,
        "tuning": 2,
        "pools": {"canary": {"size": 40, "labels": "random"}, "clean": {"size": 40}},
        "queries": ["identity", "flip"],
        "levels": ["L0", "L2"],
        "attacks": ["epsilon"],
        "methods": ["finetune"],
        "seed": 1,
    },
    "measures": ["accuracy", "ulira", "run_time", "anamnesis", "likeness", "probes"],
    "timed_seeds": 1,
    "resources": {"cpu": 1.0, "gpu": 0.0},
    "time_limit": 60.0,
    "keep_models": "none",
    "published": [{"count": 3, "what": "three"}],
}
FULL_SEARCH = FULL | {
    "scenarios": ["random:0.1"],
    "search": {"trials": 3, "sampler": "nsga3", "seeds": 2, "select": "mean", "population": 2},
}


class Dumper(yaml.SafeDumper):
    """Writes out what is long."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


Dumper.add_representer(Long, lambda dumper, long: dumper.represent_scalar(*_WRITTEN_OUT[long]))
_WRITTEN_OUT = {
    Long.TEXT: ("tag:yaml.org,2002:str", "x" * 100_000),
    Long.NUMBER: ("tag:yaml.org,2002:int", hex(10**5000)),
}


@lanes(short=100, full=1500)
def test_any_study_is_planned_or_refused_in_one_line(examples: int, tmp_path: Path) -> None:
    path, root = tmp_path / "study.yaml", tmp_path / "runs"
    refused = 0

    def check(study: Any) -> None:
        nonlocal refused
        path.write_text(yaml.dump(study, Dumper=Dumper), "utf-8", "surrogatepass")
        before = listing(tmp_path)
        with kept_to():
            refused += judge(asked("plan", path, "--root", root))
        assert listing(tmp_path) == before

    for study in (FULL, FULL_SEARCH):
        assert not judge(asked("plan", tiny_study.write_study(tmp_path, study), "--root", root))
    fuzz(check, mutated(FULL) | mutated(FULL_SEARCH), examples=examples)
    assert refused >= examples / 2


TAGS = ("int", "float", "bool", "null", "str", "binary", "timestamp", "set", "omap", "pairs", "map", "seq", "merge")
fragments = st.one_of(
    st.sampled_from(
        ["a: ", "- ", "? ", ": ", "[", "]", "{", "}", ",", "\n", "\n  ", "&a ", "*a", "<<: ", "| ", "> ", "'"]
    ),
    st.sampled_from(
        ['"', "%TAG ! tag:x\n---\n", "%YAML 1.1\n", "---\n", "...\n", "!!python/object/apply:os.getcwd []"]
    ),
    st.sampled_from([f"!!{tag} " for tag in TAGS]),
    st.sampled_from(
        ["name: x\n", "methods: all\n", ".inf", "1_0", "0x1", "1:2:3", "2001-02-30", "\\UFFFFFFFF", "\ufeff"]
    ),
    st.text(max_size=5),
)


@lanes(short=400, full=12_000)
def test_any_text_is_a_mapping_or_refused_in_one_line(examples: int, tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"

    def check(text: str | bytes) -> None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
        read = outcome(lambda: YamlFile(path).content)
        assert isinstance(read, dict) or read.startswith(str(path))

    joined = st.lists(fragments, max_size=12).map("".join)
    encoded = st.tuples(st.text(max_size=20), st.sampled_from(["utf-16", "utf-32", "latin-1"]))
    other = encoded.map(lambda both: both[0].encode(both[1], "ignore"))
    fuzz(check, st.one_of(joined, joined, other, st.binary(max_size=50)), examples=examples)


NINES = "9" * 5000
BOMBS: dict[str, str | bytes] = {
    "laughs in a value": "\n".join(
        ["z0: &z0 [x, x]", *(f"z{n}: &z{n} [*z{n - 1}, *z{n - 1}]" for n in range(1, 60)), "name: *z59"]
    ),
    "laughs in merged keys": "z0: &z0 {k: 1}\n"
    + "".join(f"z{n}: &z{n}\n  <<: [*z{n - 1}, *z{n - 1}]\n" for n in range(1, 40)),
    "a value inside itself": "name: &a [*a]",
    "a key inside itself": "methods: &a\n- *a",
    "10,000 brackets": "name: " + "[" * 10_000,
    "10,000 braces": "name: " + "{a: " * 10_000,
    "10,000 levels by dashes": "- " * 10_000,
    "10,000 levels by anchors": "\n".join(["z0: &z0 x", *(f"z{n}: &z{n} [*z{n - 1}]" for n in range(1, 10_000))]),
    "a whole number of 5,000 digits": f"name: {NINES}",
    "a hexadecimal one": f"name: 0x{NINES}",
    "a number to base 60": f"name: {'9:' * 5000}1",
    "a fraction to base 60": f"name: {'9:' * 5000}1.5",
    "a truth that is none": "name: !!bool maybe",
    "a number that is none": 'name: !!int ""',
    "a date that is none": "name: !!timestamp x",
    "a character beyond all": 'name: "\\UFFFFFFFF"',
    "half a character": 'name: "\\uD800"',
    "an object of Python": "name: !!python/object/apply:os.system ['touch touched']",
    "a tag for Python": "%TAG ! tag:yaml.org,2002:python/\n---\nname: !object/apply:os.system ['touch touched']",
    "UTF-16": "name: x".encode("utf-16"),
    "a NUL": b"name: x\0",
    "a key of 100,000 letters": f"{'k' * 100_000}: 1" + "\n3: x",
    "a name of 100,000 letters": f"name: {'n' * 100_000}",
    "an escape sequence as a key": f"{yaml.dump(ESCAPE, width=10**6).strip()}: 1",
    "100,000 entries": f"methods: [{'finetune, ' * 19_000}]",
    "more than a study may have": "#" * (MOST_BYTES + 1),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_before_it_goes_off(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path, content = tmp_path / "study.yaml", BOMBS[name]
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    before, begun = listing(tmp_path), time.monotonic()
    with kept_to():
        assert judge(asked("plan", path, "--root", tmp_path / "runs"))
    assert listing(tmp_path) == before
    assert time.monotonic() - begun < 20


def test_a_file_of_100_megabytes_or_without_an_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    large, pipe = tmp_path / "large.yaml", tmp_path / "pipe.yaml"
    with large.open("wb") as stream:
        stream.truncate(100 * 2**20)
    os.mkfifo(pipe)
    for path in (
        large,
        pipe,
        tmp_path,
        Path("/dev/zero"),
        tmp_path / ("x" * 300 + ".yaml"),
        tmp_path / "no\0such.yaml",
    ):
        with pytest.raises(InvalidFile) as caught:
            load_study(path)
        one_line(caught.value)


ARGUMENTS = st.one_of(
    st.sampled_from(
        ["", "*", "0", "-1", "+1", "1e9", "1e400", "nan", "inf", "-0.0", "0.1:0.2", "1_0", "0x1", " 1", "1 "]
    ),
    st.sampled_from(
        ["٣", "\uff11", "²", "0,1,", "0,0", "0,1,2,3,4,5,6,7,8,9", NINES, f"0.{NINES}", "1000000000:0.1", "high:1"]
    ),
    st.sampled_from(
        ["5:0.02", "3:0.5", "100:0,1:0.1", "high:0.02", "high:0.02:1000000000", "low:1e-320", "mixed:0.9:25"]
    ),
    st.text(max_size=6),
)
TEXTS = st.tuples(st.sampled_from([*SCENARIOS, "no_such"]), st.lists(ARGUMENTS, min_size=1, max_size=3)).map(
    lambda both: f"{both[0]}:{':'.join(both[1])}"
)


@lanes(short=250, full=6000)
def test_any_scenario_is_planned_or_refused_in_one_line(examples: int, tmp_path: Path) -> None:
    plain = tiny_study.PLAIN | {"methods": ["finetune"]}

    def check(text: str) -> None:
        path = tiny_study.write_study(tmp_path, plain, scenarios=[text], datasets=["digits", "cifar20@1000"])
        study = outcome(lambda: load_study(path))
        if isinstance(study, str):
            assert study.startswith(f"{path}:")
            return
        again = tiny_study.write_study(tmp_path, plain, scenarios=list(study.scenarios), datasets=["digits"])
        assert load_study(again).scenarios == study.scenarios, "a text that is read as itself"
        assert len(study.scenarios_on("digits")) <= 1000

    fuzz(check, TEXTS, examples=examples)


@lanes(short=150, full=6000)
def test_any_hyperparameter_of_any_method_is_planned_or_refused_in_one_line(examples: int, tmp_path: Path) -> None:
    def check(name: str, hyperparameter: int, value: Any, variant: Any) -> None:
        space = METHODS[name].space
        chosen = sorted(space)[hyperparameter % len(space)] if space else "none"
        given = {chosen: value} | ({} if variant is None else {"variant": variant})
        study = tiny_study.PLAIN | {"scenarios": ["random:0.1", "class:3"], "methods": [{name: given}]}
        path = tmp_path / "study.yaml"
        path.write_text(yaml.dump(study, Dumper=Dumper), "utf-8", "surrogatepass")
        plan = outcome(lambda: make_plan(load_study(path)))
        if isinstance(plan, str):
            assert plan.startswith(f"{path}:")
            return
        assert len({unit.id for unit in plan.units.values()}) == len(plan.units)
        assert all(len(unit.config) < 2000 for unit in plan.units.values())

    variants = st.none() | st.sampled_from(["default", "reference", "no"]) | values
    fuzz(check, st.sampled_from(sorted(METHODS)), st.integers(0, 20), values | numbers, variants, examples=examples)


HUGE: dict[str, dict[str, Any]] = {
    "seeds": {"seeds": 1_000_000_000},
    "seeds and settings": {"seeds": 10_000, "methods": [{"finetune": {"lr": 0.1 + n / 1000}} for n in range(100)]},
    "requests": {"scenarios": ["sequence:1000000000:0.1"]},
    "models": {"scenarios": ["memorised:high:0.1:1000000000"]},
    "suggestions": {"search": {"trials": 10**9}},
    "suggestions and seeds": {"seeds": 100, "search": {"trials": 100_000, "seeds": 100}},
    "shadows": {"farm": {"shadows": 10**9}},
    "shadows and methods": {"methods": "all", "farm": {"shadows": 100_000}},
    "draws": {"farm": {"design": "half_splits", "shadows": 100_000, "draws": 1000}},
    "pools": {"farm": {"shadows": 100_000, "pools": {f"p{n}": {"size": 8} for n in range(50)}}},
    "tuning": {"farm": {"shadows": 2, "tuning": 10**9}},
}


@pytest.mark.parametrize("name", HUGE)
def test_a_plan_of_absurd_size_is_refused_before_it_is_made(name: str, tmp_path: Path) -> None:
    study = tiny_study.write_study(tmp_path, **HUGE[name])
    begun = time.monotonic()
    with kept_to():
        assert judge(asked("plan", study, "--root", tmp_path / "runs"))
    assert time.monotonic() - begun < 20


def test_the_limit_of_a_plan_is_told_with_what_would_be_right(tmp_path: Path) -> None:
    study = load_study(tiny_study.write_study(tmp_path, **HUGE["shadows and methods"]))
    with pytest.raises(PlanTooLarge, match=rf"has about [\d,]+ units, and a plan has at most {MOST_UNITS:,}; ask for"):
        make_plan(study)


def test_a_search_of_many_generations_costs_what_its_trials_cost(tmp_path: Path) -> None:
    """Each generation waits for all before it: 20,000 of them are 400 million waits, were each one written down."""
    search = {"trials": 40_000, "sampler": "nsga3", "population": 2}
    plan = tiny_study.plan_of(tmp_path, tiny_study.PLAIN, methods=["finetune"], search=search)
    begun = time.monotonic()
    last = list(plan.units.values())[-1]
    assert len(plan.units) > 40_000
    assert len(with_needs(plan, [last])) > 40_000
    assert time.monotonic() - begun < 60


options = st.one_of(texts.filter(lambda text: isinstance(text, str) and "\0" not in text), st.text(max_size=8))


@lanes(short=80, full=2500)
def test_any_option_is_served_or_refused_in_one_line(examples: int, tmp_path: Path) -> None:
    study, root = tiny_study.write_study(tmp_path, tiny_study.PLAIN), tmp_path / "runs"
    before = listing(tmp_path)
    columns = st.sampled_from(["method=", "seed=", "unit=", "kind=", "config=", "=", "", "metod=", "scenario="])
    questions = st.one_of(
        options.map(lambda text: ["plan", text]),
        options.map(lambda text: ["show", text, "--root", root]),
        options.map(lambda text: ["status", text, "--root", root]),
        options.map(lambda text: ["open", text, "--root", root]),
        options.map(lambda text: ["rank", "--from", text]),
        options.map(lambda text: ["ls", "columns", text]),
        options.map(lambda text: ["plan", study, "--workers", text, "--root", root]),
        options.map(lambda text: ["plan", study, "--plugin", text, "--root", root]),
        st.tuples(columns, options).map(
            lambda both: ["run", study, "--root", root, "--local", "--where", "".join(both)]
        ),
        st.sampled_from(["--limit", "--device", "--data"]).flatmap(
            lambda name: options.map(lambda text: ["run", study, "--root", "ftp://x", "--local", name, text])
        ),
        options.map(lambda text: [text]),
    )

    def check(arguments: list[Any]) -> None:
        with kept_to():
            answer = asked(*(one for one in arguments if one is not Long.TEXT))
        if answer.code == 0 and arguments[0] in ("show", "open"):
            raise AssertionError(answer)
        judge(answer)

    fuzz(check, questions, examples=examples)
    assert listing(tmp_path) == before


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_could_leave_the_root_is_no_name(name: str, tmp_path: Path) -> None:
    for key, value in {"name": name, "farm": {"shadows": 4, "pools": {name: {"size": 40}}}}.items():
        if name == "con":  # a device only elsewhere
            continue
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump({**tiny_study.TINY, key: value}))
        with pytest.raises(InvalidFile) as caught:
            load_study(path)
        one_line(caught.value)


def test_what_is_wrong_is_told_though_the_text_around_it_is_markup(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(tiny_study.TINY | {"methods": [MARKUP]}))
    answer = asked("plan", path)
    assert judge(answer)
    assert "methods.0: no method" in answer.err
