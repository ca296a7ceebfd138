"""Finding things by name, and plug-ins."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import pytest

from harness import registry
from harness.contracts import ARCHITECTURES, DATASETS, METHODS, SCENARIOS
from harness.contracts.scenario import InvalidScenario
from harness.errors import HarnessError

registry.load()
CATALOGS = [METHODS, DATASETS, ARCHITECTURES, SCENARIOS]

PLUGIN = '''
from harness.contracts import method

@method(reads=(), source="a plug-in")
class FromElsewhere:
    """Do nothing."""

    def unlearn(self, model, data, run):
        return model
'''


def test_every_file_of_tasks_that_declares_something_is_found() -> None:
    import tasks

    folder = Path(str(tasks.__file__)).parent
    for kind, catalog in registry.CATALOGS.items():
        declaring = {path.stem for path in (folder / kind).glob("[!_]*.py")}
        found = {catalog[name].module for name in catalog}
        assert found >= {f"tasks.{kind}.{stem}" for stem in declaring}


@pytest.mark.parametrize("catalog", CATALOGS, ids=lambda catalog: catalog.kind)
def test_a_wrong_name_is_answered_with_the_nearest_one(catalog: registry.Catalog[registry.Declared]) -> None:
    for name in catalog:
        assert registry.find(catalog, name) is catalog[name]
    wrong = next(iter(catalog)) + "x"
    with pytest.raises(registry.UnknownName, match=f"no {catalog.kind} '{wrong}'; did you mean"):
        registry.find(catalog, wrong)
    with pytest.raises(registry.UnknownName, match=f"no {catalog.kind} 'zzzzzzzz'; known: "):
        registry.find(catalog, "zzzzzzzz")


def test_matches_names_globs_and_all() -> None:
    assert [spec.name for spec in registry.match(METHODS, "msg")] == ["msg"]
    assert [spec.name for spec in registry.match(ARCHITECTURES, "resnet18*")] == ["resnet18", "resnet18_cifar"]
    assert [spec.name for spec in registry.match(METHODS, "all")] == sorted(METHODS)
    with pytest.raises(registry.UnknownName, match=r"no method matches 'x\*'; known: .*finetune"):
        registry.match(METHODS, "x*")
    with pytest.raises(registry.UnknownName, match="did you mean 'finetune'"):
        registry.match(METHODS, "finetun")


def test_scenarios_are_read_with_their_argument() -> None:
    assert str(registry.parse_scenario("random:0.10")) == "random:0.1"
    assert str(registry.parse_scenario("class:03")) == "class:3"
    with pytest.raises(InvalidScenario, match=r"lacks its argument, such as random:0\.1"):
        registry.parse_scenario("random")
    with pytest.raises(registry.UnknownName, match="did you mean 'random'"):
        registry.parse_scenario("randon:0.1")


def test_the_suites_are_the_study_files_of_tasks() -> None:
    for name, path in registry.suites().items():
        assert path.is_file()
        assert path.name == f"{name}.yaml"


def test_a_plugin_that_is_not_there_is_named() -> None:
    with pytest.raises(registry.PluginMissing, match="plugin 'no_such_plugin' cannot be imported"):
        registry.load(("no_such_plugin",))
    assert issubclass(registry.PluginMissing, HarnessError)


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A package on the path, with a module inside that declares a method."""
    package = tmp_path / "harness_test_plugin"
    (package / "methods").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "methods" / "__init__.py").touch()
    (package / "methods" / "elsewhere.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(METHODS, "_specs", dict(METHODS._specs))
    registry.load.cache_clear()
    for name in [name for name in sys.modules if name.startswith(package.name)]:
        monkeypatch.delitem(sys.modules, name)
    module = ModuleType(package.name)
    yield module
    registry.load.cache_clear()


def test_a_plugin_is_loaded_with_everything_inside_it(plugin: ModuleType) -> None:
    registry.load((plugin.__name__,))
    assert registry.find(METHODS, "from_elsewhere").source == "a plug-in"


def test_an_installed_plugin_is_found_by_its_entry_point(plugin: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def entry_points(*, group: str) -> list[EntryPoint]:
        asked.append(group)
        return [EntryPoint("mine", plugin.__name__, group)]

    monkeypatch.setattr(registry, "entry_points", entry_points)
    assert registry.find(METHODS, "from_elsewhere").name == "from_elsewhere"
    assert asked == ["harness.tasks"]


def test_loading_imports_neither_torchvision_nor_sklearn_nor_ray_nor_mlflow() -> None:
    code = (
        "import sys; from harness import registry; registry.load();"
        "print([n for n in ('torchvision', 'sklearn', 'timm', 'ray', 'mlflow', 'scipy', 'pandas') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
