"""Studies: what a file means, and what it may not say."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_study
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from harness import registry
from harness.contracts import DATASETS, METHODS, RETAIN, Run, View, fixed, method
from harness.origin import Search
from harness.planner import make_plan
from harness.study import Study, load_study
from harness.yamlfile import InvalidFile

registry.load()

BASE = """\
name: bad
datasets: [digits]
architectures: [cnn_small]
scenarios: ["random:0.1"]
methods: [finetune]
"""


def load(folder: Path, **changes: Any) -> Study:
    """Return the tiny study with some keys changed."""
    return load_study(tiny_study.write_study(folder, **changes))


def refused(folder: Path, text: str) -> str:
    """Return what is said of a file, without its path."""
    path = folder / "s.yaml"
    path.write_text(text)
    with pytest.raises(InvalidFile) as caught:
        load_study(path)
    message = str(caught.value)
    assert message.startswith(f"{path}:")
    assert "\n" not in message
    return message.removeprefix(f"{path}:")


def test_every_key_arrives(tmp_path: Path) -> None:
    study = load(
        tmp_path,
        name="all-keys_1",
        question="What?",
        datasets=["digits", "fashion_mnist@10000"],
        architectures=["cnn_small", "resnet18*"],
        scenarios=["random:0.10", "class:03"],
        methods=["original", {"finetune": {"lr": 0.05, "epochs": 2}}, {"ct": None}],
        seeds=[3, 1, 3],
        recipe={"epochs": 2, "batch_size": 32, "lr": 1, "schedule": "constant", "precision": "bf16"},
        farm={"shadows": 8, "retrains": 2, "pools": {"a-b": {"size": 8}}, "levels": ["L2"], "seed": 5},
        measures=["accuracy", "ulira"],
        time_limit=60,
        keep_models="none",
    )
    assert (study.name, study.question, study.seeds) == ("all-keys_1", "What?", (3, 1))
    assert [dataset.label for dataset in study.datasets] == ["digits", "fashion_mnist@10000"]
    assert [dataset.digest for dataset in study.datasets] == [DATASETS[d.name].digest for d in study.datasets]
    assert [spec.name for spec in study.architectures] == ["cnn_small", "resnet18", "resnet18_cifar"]
    assert study.scenarios == ("random:0.1", "class:3")
    assert [(choice.spec.name, choice.config, dict(choice.values)) for choice in study.methods] == [
        ("original", "default", {}),
        ("finetune", "epochs=2,lr=0.05", {"lr": 0.05, "epochs": 2}),
        ("ct", "default", {}),
    ]
    assert study.farm is not None
    assert [(pool.name, pool.size, pool.labels) for pool in study.farm.ref.pools] == [("a-b", 8, "own")]
    assert (study.farm.ref.seed, study.farm.shadows, study.farm.retrains, study.farm.levels) == (5, 8, 2, ("L2",))
    assert (study.measures, study.time_limit, study.keep_models) == (("accuracy", "ulira"), 60, "none")
    own = DATASETS["digits"].recipe
    wanted = replace(own, epochs=2, batch_size=32, lr=1.0, schedule="constant", precision="bf16")
    assert study.recipe_for("digits", "cnn_small") == wanted


def test_what_is_not_said_has_its_default(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(BASE)
    study = load_study(path)
    assert (study.seeds, study.farm, study.keep_models, study.time_limit) == ((0,), None, "original", 3600.0)
    assert study.recipe_for("digits", "cnn_small") == DATASETS["digits"].recipe
    assert set(study.measures) == {"accuracy", "retention_deviation", "population_mia", "ulira", "run_time"}


@pytest.mark.parametrize(("shadows", "retrains"), [(2, 0), (4, 2), (6, 2), (8, 4), (512, 256)])
def test_half_of_the_shadows_in_whole_pairs_are_retrained(tmp_path: Path, shadows: int, retrains: int) -> None:
    farm = load(tmp_path, farm={"shadows": shadows}).farm
    assert farm is not None
    assert farm.retrains == retrains


def test_designs_have_the_defaults_that_they_need(tmp_path: Path) -> None:
    plain = load(tmp_path, farm={"shadows": 8}).farm
    assert plain is not None
    assert (plain.ref.design, plain.ref.queries, plain.tuning, plain.draws) == ("pairs", ("identity",), 0, 0)
    assert plain.pools == ("canary", "clean")
    half = load(
        tmp_path, farm={"design": "half_splits", "shadows": 8, "tuning": 2, "queries": ["identity", "flip"]}
    ).farm
    assert half is not None
    assert (half.retrains, half.tuning, half.draws, half.ref.pools) == (8, 2, 10, ())
    assert (half.pools[0], half.pools[9], half.ref.queries) == ("draw0", "draw9", ("identity", "flip"))
    fixed_data = load(tmp_path, farm={"design": "conditional", "shadows": 10, "pools": {"random": {"size": 100}}}).farm
    assert fixed_data is not None
    assert (fixed_data.retrains, fixed_data.draws, fixed_data.pools) == (10, 0, ("random",))


def test_a_search_runs_on_the_first_seeds_and_draws_what_is_not_given(tmp_path: Path) -> None:
    assert load(tmp_path).search is None
    study = load(
        tmp_path,
        methods=["finetune", {"ct": {"lr": 0.1}}, "original"],
        seeds=[4, 2, 7],
        search={"trials": 5, "sampler": "random", "seeds": 2, "select": "reference"},
    )
    assert study.search == Search(5, "random", (4, 2), "reference", 0)
    assert study.search.streams == ((4,), (2,))
    assert replace(study.search, select="mean").streams == ((4, 2),)
    assert [choice.searched for choice in study.methods] == [True, True, False]
    assert study.search_scenario("digits") == study.scenarios[0]


def test_a_search_with_nothing_to_draw_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidFile, match=r"search\.trials: no method of the study has a hyperparameter left to search"
    ):
        load(tmp_path, methods=["original"], search={"trials": 5})


def test_there_is_no_farm_without_shadows_or_without_its_measure(tmp_path: Path) -> None:
    assert load(tmp_path, farm={"shadows": 0}).farm is None
    assert load(tmp_path, measures=["accuracy"]).farm is None


@pytest.mark.parametrize("name", sorted(registry.suites()))
def test_every_suite_is_a_study_of_its_own_name(name: str) -> None:
    assert load_study(name).name == name


def test_globs_and_all_choose_methods(tmp_path: Path) -> None:
    assert [choice.spec.name for choice in load(tmp_path, methods="all").methods] == sorted(METHODS)
    chosen = load(tmp_path, methods=["neg_*", "c?", "finetune"]).methods
    assert [(choice.spec.name, choice.by_name) for choice in chosen] == [
        ("neg_grad_plus", False),
        ("ct", False),
        ("finetune", True),
    ]


given_values = st.fixed_dictionaries(
    {}, optional={"lr": st.floats(0, 1e6), "momentum": st.floats(0, 1), "epochs": st.integers(1, 10**6)}
)


@given(st.lists(given_values, min_size=2, max_size=6))
def test_different_values_have_different_names(
    tmp_path_factory: pytest.TempPathFactory, several: list[dict[str, float]]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    methods = load(folder, methods=[{"finetune": values} for values in several]).methods
    assert len({choice.config for choice in methods}) == len({choice.values for choice in methods})


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("name: bad\n", "", "1: name: the key is missing"),
        ("name: bad", "name: a b", "1: name: must consist of letters, digits, _ and - (not first), not 'a b'"),
        ("name: bad", "name: 7", "1: name: must be a text, not 7"),
        ("[digits]", "digits", "2: datasets: must be a list, not 'digits'"),
        ("[digits]", "[]", "2: datasets: must hold at least one entry, not []"),
        ("[digits]", "[digit]", "2: datasets.0: no dataset 'digit'; did you mean 'digits'?"),
        ("[digits]", "\n- digits\n- photos", "4: datasets.1: no dataset 'photos'; known: "),
        ("[digits]", "[digits@99]", "2: datasets.0: 'digits@99': the subset must be a whole number from 100 to"),
        ("[digits]", "[digits@1797]", "2: datasets.0: 'digits@1797': the subset must be a whole number from 100"),
        ("[digits]", "[digits@1e3]", "2: datasets.0: 'digits@1e3': the subset must be a whole number"),
        ("cnn_small", "cnn_smal", "3: architectures.0: no architecture 'cnn_smal'; did you mean 'cnn_small'?"),
        ("cnn_small", "swin*", "3: architectures.0: no architecture matches 'swin*'; known: allcnn, cnn_small, "),
        ("random:0.1", "randon:0.1", "4: scenarios.0: no scenario 'randon'; did you mean 'random'?"),
        ("random:0.1", "random", "4: scenarios.0: scenario 'random' lacks its argument, such as random:0.1"),
        ("random:0.1", "random:0", "4: scenarios.0: 'random:0': the fraction must lie between 0 and 1"),
        ("random:0.1", "random:1.0", "4: scenarios.0: 'random:1.0': the fraction must lie between 0 and 1"),
        ("random:0.1", "random:-0.5", "4: scenarios.0: 'random:-0.5': the fraction must lie between 0 and 1"),
        ("random:0.1", "random:nan", "4: scenarios.0: 'random:nan': the fraction must lie between 0 and 1"),
        ("random:0.1", "class:10", "4: scenarios.0: 'class:10': the class must lie between 0 and 9 on digits"),
        ("random:0.1", "random:*", "4: scenarios.0: 'random:*': the fraction must lie between 0 and 1"),
        ("random:0.1", "classes:3", "4: scenarios.0: 'classes:3' names one class; write class:3"),
        ("random:0.1", "classes:*", "4: scenarios.0: 'classes:*': the classes must be whole numbers"),
        ("random:0.1", "classes:0,10", "4: scenarios.0: 'classes:0,10': each class must lie between 0 and 9 on digits"),
        ("random:0.1", "class:-1", "4: scenarios.0: 'class:-1': the class must be a whole number from 0"),
        ('["random:0.1"]', "[random: 0.1]", "4: scenarios.0: must be a text, not {'random': 0.1}"),
        ("[finetune]", "finetune", "5: methods: must be a list, not 'finetune'"),
        ("[finetune]", "[finetun]", "5: methods.0: no method 'finetun'; did you mean 'finetune'?"),
        ("[finetune]", "\n- ct\n- 3", "7: methods.1: must be a text, not 3"),
        ("[finetune]", "\n- ct\n- {finetune: {}, ct: {}}", "7: methods.1: 2 methods in one entry; begin each"),
        ("[finetune]", "\n- finetune: [1]", "6: methods.0.finetune: must be a mapping of keys to values, not [1]"),
        (
            "[finetune]",
            "\n- ct\n- finetune:\n    epochs: 1\n    larning_rate: 1\n",
            "9: methods.1.finetune.larning_rate: method 'finetune' has no hyperparameter 'larning_rate'",
        ),
        (
            "[finetune]",
            "\n- finetune:\n    epochs: 1\n    lr: fast\n",
            "8: methods.0.finetune.lr: finetune.lr is 'fast'; it must be a number",
        ),
        ("[finetune]", "[{finetune: {lr: -1}}]", "5: methods.0.finetune.lr: finetune.lr is -1; it must be finite"),
        ("[finetune]", "[{finetune: {lr: .inf}}]", "5: methods.0.finetune.lr: finetune.lr is inf; it must be finite"),
        ("[finetune]", "[{finetune: {epochs: 1.5}}]", "finetune.epochs is 1.5; it must be a whole number"),
        ("[finetune]", "[{finetune: {epochs: 0}}]", "finetune.epochs is 0; it must be finite and at least 1"),
        ("[finetune]", "[{finetune: {momentum: 2}}]", "finetune.momentum is 2; it must be between 0 and 1"),
        ("[finetune]", "[{original: {lr: 1}}]", "method 'original' has no hyperparameter 'lr'; it has none"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_with_its_place(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in BASE
    assert says in refused(tmp_path, BASE.replace(old, new))


@pytest.mark.parametrize(
    ("added", "says"),
    [
        ("sedes: 3", "6: sedes: unknown key; did you mean 'seeds'?"),
        ("zzz: 3", "6: zzz: unknown key; known: architectures, datasets, deterministic, farm, "),
        ("seeds: 0", "6: seeds: input should be greater than or equal to 1, not 0"),
        ("seeds: 2.5", "6: seeds: input should be a valid integer, not 2.5"),
        ("seeds: true", "6: seeds: input should be a valid integer, not True"),
        ("seeds: 1000000000", "6: seeds: input should be less than or equal to 10000, not 1000000000"),
        ("seeds:\n- 1\n- -1", "8: seeds.1: input should be greater than or equal to 0, not -1"),
        ("seeds: [99999999999]", "6: seeds.0: input should be less than 2147483648, not 99999999999"),
        ("question: [x]", "6: question: must be a text, not ['x']"),
        ("recipe: fast", "6: recipe: must be a mapping of keys to values, not 'fast'"),
        ("recipe:", "6: recipe: must be a mapping of keys to values"),
        ("recipe:\n  epochs: 2\n  epoch: 3", "8: recipe.epoch: unknown key; did you mean 'epochs'?"),
        ("recipe: {epochs: 0}", "6: recipe.epochs: input should be greater than or equal to 1, not 0"),
        ("recipe: {epochs: '3'}", "6: recipe.epochs: input should be a valid integer, not '3'"),
        ("recipe: {batch_size: 1}", "6: recipe.batch_size: input should be greater than or equal to 2, not 1"),
        ("recipe: {lr: .nan}", "6: recipe.lr: input should be a finite number, not nan"),
        ("recipe: {lr: .inf}", "6: recipe.lr: input should be a finite number, not inf"),
        ("recipe: {schedule: step}", "6: recipe.schedule: input should be 'cosine' or 'constant', not 'step'"),
        ("farm: 32", "6: farm: must be a mapping of keys to values, not 32"),
        ("farm:\n  shadow: 4", "7: farm.shadow: unknown key; did you mean 'shadows'?"),
        ("farm: {shadows: 3}", "6: farm.shadows: input should be a multiple of 2, not 3"),
        ("farm: {shadows: -2}", "6: farm.shadows: input should be greater than or equal to 0, not -2"),
        ("farm:\n  shadows: 4\n  retrains: 6", "8: farm.retrains: must be at most the 4 shadows, not 6"),
        ("farm: {shadows: 4, pools: {}}", "6: farm.pools: must hold at least one entry"),
        (
            "farm:\n  shadows: 4\n  pools:\n    clean:\n      size: 40\n      label: random",
            "11: farm.pools.clean.label: unknown key; did you mean 'labels'?",
        ),
        ("farm: {shadows: 4, pools: {a: {}}}", "6: farm.pools.a.size: the key is missing"),
        ("farm: {shadows: 4, pools: {a: {size: 9}}}", "6: farm.pools.a.size: input should be a multiple of 2, not 9"),
        ("farm: {shadows: 4, pools: {a: {size: 4}}}", "farm.pools.a.size: input should be greater than or equal to 8"),
        (
            "farm: {shadows: 4, pools: {a/b: {size: 8}}}",
            "must consist of letters, digits, _ and - (not first), not 'a/b'",
        ),
        (
            "farm:\n  shadows: 4\n  pools:\n    a: {size: 620}",
            "8: farm.pools: audit pools of 620 images; at most half of the 1222 training images may be audited",
        ),
        ("farm: {shadows: 4, levels: [L4]}", "6: farm.levels.0: input should be 'L0', 'L1', 'L2' or 'L3', not 'L4'"),
        ("farm: {shadows: 4, design: pair}", "6: farm.design: input should be 'pairs', 'conditional' or 'half_splits'"),
        ("farm: {shadows: 4, tuning: 3}", "6: farm.tuning: input should be a multiple of 2, not 3"),
        ("farm: {shadows: 4, queries: [flop]}", "6: farm.queries.0: input should be 'identity' or 'flip', not 'flop'"),
        ("farm:\n  shadows: 4\n  queries: [flip]", "8: farm.queries: must be [identity] or [identity, flip], not ['fl"),
        ("farm: {shadows: 4, queries: [identity, identity]}", "farm.queries: must be [identity] or [identity, flip]"),
        ("farm:\n  shadows: 4\n  draws: 2", "8: farm.draws: design pairs has pools and no draws; leave the key out"),
        (
            "farm:\n  design: half_splits\n  shadows: 4\n  pools: {a: {size: 8}}",
            "9: farm.pools: design half_splits has draws of published seeds and no pools; leave the key out",
        ),
        ("farm: {shadows: 4, pools: {population: {size: 8}}}", "6: farm.pools: population is the name of the test"),
        ("farm: {design: half_splits, shadows: 4, seed: 1}", "6: farm.seed: design half_splits has draws of published"),
        ("farm: {design: half_splits, shadows: 4, draws: 0}", "farm.draws: input should be greater than or equal to 1"),
        (
            "farm: {design: conditional, shadows: 4, retrains: 0}",
            "6: farm.retrains: design conditional compares with retrains alone; must be at least 2, not 0",
        ),
        ("measures: [accurcy]", "6: measures.0: input should be 'accuracy', "),
        ("measures: []", "6: measures: must hold at least one entry"),
        ("resources: lots", "6: resources: input should be 'auto', not 'lots'"),
        ("resources: {cpus: 1}", "6: resources.cpus: unknown key; did you mean 'cpu'?"),
        ("resources:\n  cpu: 1\n  gpu: 2", "8: resources.gpu: input should be less than or equal to 1, not 2"),
        ("resources: {cpu: .inf}", "6: resources.cpu: input should be a finite number, not inf"),
        ("time_limit: 0", "6: time_limit: input should be greater than 0, not 0"),
        ("time_limit: .inf", "6: time_limit: input should be less than or equal to 100000000, not inf"),
        ("search: {trials: 4, seeds: 2}", "6: search.seeds: must be at most 1, as many as the study has, not 2"),
        ("search:\n  trials: -1", "7: search.trials: input should be greater than or equal to 0, not -1"),
        ("search: {trials: 4, sampler: nsga2}", "6: search.sampler: input should be 'nsga3' or 'random', not 'nsga2'"),
        ("search: {trials: 4, pick: mean}", "6: search.pick: unknown key; known: "),
        ("search: {trials: 4, population: 1}", "6: search.population: input should be greater than or equal to 2"),
        ("farm: {shadows: 4, methods: [finetun]}", "farm.methods.0: no method 'finetun' in the study; did you mean"),
        ("published: [{count: 3}]", "6: published.0.what: the key is missing"),
        ("keep_models: some", "6: keep_models: input should be 'original', 'none', 'all' or 'farm', not"),
    ],
)
def test_a_wrong_key_or_setting_is_named_with_its_place(tmp_path: Path, added: str, says: str) -> None:
    assert says in refused(tmp_path, BASE + added + "\n")


def test_the_pools_must_fit_into_the_subset_that_is_used(tmp_path: Path) -> None:
    farm = "farm: {shadows: 4, pools: {a: {size: 100}}}\n"
    says = "farm.pools: audit pools of 100 images; at most half of the 136 training images may be audited on digits@200"
    assert says in refused(tmp_path, BASE.replace("[digits]", "[digits@200]") + farm)


def test_the_mistake_that_stands_first_is_reported(tmp_path: Path) -> None:
    text = BASE.replace("[digits]", "digits") + "seeds: 0\nzzz: 1\n"
    assert refused(tmp_path, text).startswith("2: datasets: ")


def test_each_class_in_turn_is_that_of_each_data_set_and_what_it_repeats_counts_once(tmp_path: Path) -> None:
    study = load(tmp_path, datasets=["digits", "cifar100"], scenarios=["classes:2,0,0", "class:*", "class:3"])
    assert study.scenarios == ("classes:0,2", "class:*", "class:3")
    for dataset, classes in {"digits": 10, "cifar100": 100}.items():
        assert study.scenarios_on(dataset) == ["classes:0,2", *(f"class:{label}" for label in range(classes))]


def test_a_class_that_one_data_set_lacks_is_refused_even_beside_each_class_in_turn(tmp_path: Path) -> None:
    text = BASE.replace("[digits]", "[cifar100, digits]").replace('"random:0.1"', '"class:*", "class:50"')
    assert "4: scenarios.1: 'class:50': the class must lie between 0 and 9 on digits" in refused(tmp_path, text)


@pytest.mark.usefixtures("declaring")
def test_a_method_is_refused_where_no_scenario_suits_it_unless_a_glob_chose_it(tmp_path: Path) -> None:
    @method(reads={RETAIN}, scenarios={"class"}, source="a test")
    class ClassesOnly:
        """Forget whole classes."""

        rate: float = fixed(1.0)

        def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
            return model

    says = "7: methods.1: method 'classes_only' does not support 'random:0.1'; it supports: class"
    for entry in ("classes_only", "classes_only: {rate: 2}"):
        assert says in refused(tmp_path, BASE.replace("[finetune]", f"\n- ct\n- {entry}"))
        both = BASE.replace("[finetune]", f"\n- ct\n- {entry}").replace('"random:0.1"', '"random:0.1", "class:3"')
        path = tmp_path / "both.yaml"
        path.write_text(both)
        plan = make_plan(load_study(path))
        assert plan.left_out == ("classes_only does not support random:0.1",)
        own = [unit for unit in plan.units.values() if unit.method.name == "classes_only"]
        assert {unit.scenario.name for unit in own} == {"class:3"}
    for glob in ("[classes_*]", "all"):
        path = tmp_path / "s.yaml"
        path.write_text(BASE.replace("[finetune]", glob))
        assert "classes_only" in {choice.spec.name for choice in load_study(path).methods}


def test_a_study_that_is_no_file_is_a_suite(tmp_path: Path) -> None:
    with pytest.raises(
        registry.UnknownName, match=r"no suite 'digts'; did you mean 'digits'\?; a study file ends in .yaml"
    ):
        load_study("digts")
    with pytest.raises(InvalidFile, match=re.escape(f"{tmp_path}/no.yaml: cannot be read: No such file")):
        load_study(tmp_path / "no.yaml")


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(["all", "digits", "*"])
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["finetune", "lr", "epochs", "shadows", "pools", "size", "x", ""]), inner, max_size=3
        )
    ),
    max_leaves=8,
)
keys = st.sampled_from([*tiny_study.TINY, "time_limit", "keep_models", "measures", "x"])


@settings(max_examples=300)
@given(st.dictionaries(keys, values, min_size=1, max_size=3))
def test_whatever_a_file_says_it_is_a_study_or_refused_with_its_place(
    tmp_path_factory: pytest.TempPathFactory, changes: dict[str, Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(yaml.safe_dump({**tiny_study.TINY, **changes}, sort_keys=False))
    lines = path.read_text().count("\n")
    try:
        load_study(path)
    except InvalidFile as error:
        place = re.match(rf"{re.escape(str(path))}:(\d+): ", str(error))
        assert place is not None
        assert 1 <= int(place[1]) <= lines


def test_values_are_checked_by_the_ranges_of_their_variant(tmp_path: Path) -> None:
    """Whichever of the two keys comes first."""
    for values in ({"variant": "fixed", "alpha": 2.0}, {"alpha": 2.0, "variant": "fixed"}):
        (found,) = load(tmp_path, methods=[{"fisher_forgetting": values}]).methods
        assert dict(found.values) == {"alpha": 2.0, "variant": "fixed"}
    with pytest.raises(InvalidFile, match=r"alpha is 2\.0; it must be between 0 and 1"):
        load(tmp_path, methods=[{"fisher_forgetting": {"alpha": 2.0}}])
