"""Wrong questions: exit code 2, one line that says what is wrong and what would be right, and nothing written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_study
from torch import nn

from harness import registry
from harness.contracts import DATASETS, RETAIN, Run, View, fixed, method

registry.load()

BASE = """\
name: bad
datasets: [digits]
architectures: [cnn_small]
scenarios: ["random:0.1"]
methods: [finetune]
recipe: {epochs: 1}
farm: {shadows: 4, pools: {clean: {size: 40}}}
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A root that must not come into being, nor anything else in the working folder or the default root."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.delenv("HARNESS_ROOT", raising=False)
    yield tmp_path / "runs"
    assert not (tmp_path / "runs").exists()
    assert list(here.iterdir()) == []


def study(root: Path, old: str = "", new: str = "") -> Path:
    """Write a good study with one thing changed."""
    assert old in BASE
    path = root.with_name("study.yaml")
    path.write_text(BASE.replace(old, new, 1) if old else BASE + new)
    return path


def refused(*arguments: object) -> str:
    """Return the one line with which a command refuses."""
    answer = tiny_study.harness(*arguments)
    assert answer.code == 2, answer
    assert answer.out == ""
    assert len(answer.lines) == 1, answer.err
    assert answer.lines[0].startswith("harness: ")
    return answer.lines[0].removeprefix("harness: ")


BAD: dict[str, tuple[str, str, str]] = {
    "method": ("finetune", "finetun", "5: methods.0: no method 'finetun'; did you mean 'finetune'?"),
    "dataset": ("[digits]", "[digit]", "2: datasets.0: no dataset 'digit'; did you mean 'digits'?"),
    "architecture": ("cnn_small", "cnn", "3: architectures.0: no architecture 'cnn'; "),
    "scenario": ("random:0.1", "rando:0.1", "4: scenarios.0: no scenario 'rando'; did you mean 'random'?"),
    "fraction 0": ("random:0.1", "random:0", "'random:0': the fraction must lie between 0 and 1"),
    "fraction 1": ("random:0.1", "random:1", "'random:1': the fraction must lie between 0 and 1"),
    "class": ("random:0.1", "class:10", "'class:10': the class must lie between 0 and 9 on digits"),
    "subset small": ("[digits]", "[digits@10]", "'digits@10': the subset must be a whole number from 100 to 1796"),
    "subset large": ("[digits]", "[digits@9999]", "'digits@9999': the subset must be a whole number from 100 to 1796"),
    "key": ("", "seed: 3", "8: seed: unknown key; did you mean 'seeds'?"),
    "key of the recipe": ("epochs", "epoch", "6: recipe.epoch: unknown key; did you mean 'epochs'?"),
    "key of the farm": ("shadows", "shadow", "7: farm.shadow: unknown key; did you mean 'shadows'?"),
    "key of a pool": ("size: 40", "size: 40, sizes: 1", "7: farm.pools.clean.sizes: unknown key; did you mean 'size'?"),
    "type of a list": ("[finetune]", "finetune", "5: methods: must be a list, not 'finetune'"),
    "type of a number": ("epochs: 1", "epochs: one", "6: recipe.epochs: input should be a valid integer, not 'one'"),
    "type of a mapping": ("{epochs: 1}", "1", "6: recipe: must be a mapping of keys to values, not 1"),
    "repeated key": ("", "name: again", "8: name: the key is given twice; keep one"),
    "repeated deep key": ("epochs: 1", "epochs: 1, epochs: 2", "6: recipe.epochs: the key is given twice; keep one"),
    "no YAML": ("[digits]", "[digits", "3: not valid YAML: "),
    "hyperparameter": ("finetune", "{finetune: {rate: 1}}", "method 'finetune' has no hyperparameter 'rate'; known: "),
    "its type": ("finetune", "{finetune: {lr: fast}}", "finetune.lr is 'fast'; it must be a number"),
    "its range": ("finetune", "{finetune: {momentum: 1.5}}", "finetune.momentum is 1.5; it must be between 0 and 1"),
    "pools": ("size: 40", "size: 4000", "7: farm.pools: audit pools of 4000 images; at most half of the 1222 training"),
}


@pytest.mark.parametrize("command", ["run", "plan"])
@pytest.mark.parametrize("name", BAD)
def test_a_wrong_study(name: str, command: str, root: Path) -> None:
    old, new, says = BAD[name]
    path = study(root, old, new)
    line = refused(command, path, "--root", root)
    assert line.startswith(f"{path}:")
    assert says in line


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", ":1: a study is a mapping of keys to values"),
        (b"PNG\x89\xff\x00", ": not a text file in UTF-8"),
        (b"a: \x00", ":1: the character #x00 is not allowed"),
    ],
)
def test_a_file_that_is_no_study(content: bytes, says: str, root: Path) -> None:
    path = study(root)
    path.write_bytes(content)
    assert refused("run", path, "--root", root) == f"{path}{says}"


@pytest.mark.parametrize("command", ["run", "plan", "rank", "report", "attack"])
def test_a_study_that_is_not_there(command: str, root: Path) -> None:
    assert "no suite 'digts'; did you mean 'digits'?; a study file ends in .yaml" in refused(command, "digts")
    assert "no.yaml: cannot be read: No such file or directory" in refused(command, "no.yaml", "--root", root)


@pytest.mark.usefixtures("declaring")
def test_a_method_in_a_scenario_that_it_does_not_support(root: Path) -> None:
    @method(reads={RETAIN}, scenarios={"class"}, source="a test")
    class ClassesOnly:
        """Forget whole classes."""

        rate: float = fixed(1.0)

        def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
            return model

    says = "5: methods.0: method 'classes_only' does not support 'random:0.1'; it supports: class"
    assert says in refused("run", study(root, "finetune", "classes_only"), "--root", root)


def test_a_root_that_cannot_be_written(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert refused("run", study(root), "--root", file, "--local") == f"root {file} is a file; give a folder"
    says = f"root {file}/below cannot be written: "
    assert refused("run", study(root), "--root", file / "below", "--local").startswith(says)
    assert "root 'ftp://x/y' is not supported; give a folder or a URI of file://, s3://, gs://" in refused(
        "run", study(root), "--root", "ftp://x/y"
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_root_in_a_folder_that_is_read_only(root: Path, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert "cannot be written" in refused("run", study(root), "--root", locked / "runs", "--local")


def test_data_that_are_nowhere(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = DATASETS["digits"]
    monkeypatch.setitem(DATASETS._specs, "digits", replace(spec, folders=(str(tmp_path / "other"),)))
    places = f"{tmp_path}/data/digits or {tmp_path}/other"
    says = f"data set 'digits' is not in {places}; get it: {spec.how_to_get}"
    assert refused("run", study(root), "--root", root, "--data", tmp_path / "data", "--local") == says
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "data"))
    assert refused("run", study(root), "--root", root, "--local") == says


def test_data_that_are_not_the_official_ones(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "data" / "digits"
    folder.mkdir(parents=True)
    source = Path(DATASETS["digits"].folders[0]) / "digits.csv.gz"
    monkeypatch.setenv("HARNESS_DATA", str(folder.parent))
    shutil.copy(source, folder)
    packed = (folder / source.name).read_bytes()
    (folder / source.name).write_bytes(packed[: len(packed) // 2])
    says = f"{folder}/digits.csv.gz cannot be read: "
    assert refused("run", study(root), "--root", root, "--local").startswith(says)
    (folder / "digits.csv").write_text("0,1,2\n")
    says = f"{folder}/digits.csv is not the official file (its sha256 differs); replace it"
    assert refused("run", study(root), "--root", root, "--local") == says


@pytest.mark.skipif(not Path("/usr/share/datasets/fashion-mnist").exists(), reason="Fashion-MNIST is not installed")
def test_a_truncated_idx_file(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "fashion_mnist"
    folder.mkdir(parents=True)
    for path in Path("/usr/share/datasets/fashion-mnist").iterdir():
        (folder / path.name).symlink_to(path)
    name = next(iter(DATASETS["fashion_mnist"].files))
    for path in folder.glob(f"{name}*"):
        path.unlink()
    (folder / name).write_bytes(b"\0\0\x08\x03" + b"\0" * 1000)
    line = refused("run", study(root, "[digits]", "[fashion_mnist@1000]"), "--root", root, "--data", folder.parent)
    assert line == f"{folder}/{name} is not the official file (its sha256 differs); replace it"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--where", "metod=ct"], "--where 'metod=ct' must be COLUMN=VALUE; did you mean 'method'?"),
        (["--where", "method"], "--where 'method' must be COLUMN=VALUE"),
        (["--where", "method=finetun"], "has method=finetun; did you mean 'finetune'?"),
        (["--where", "seed=5"], "has seed=5; known: "),
        (["--where", "method=finetune", "--where", "kind=retrain"], "has method=finetune and kind=retrain at once"),
        (["--limit", "0"], "Invalid value for '--limit': 0 is not in the range x>=1."),
        (["--device", "gpu"], "there is no device 'gpu'; use cpu, cuda, cuda:1 or auto"),
        (["--device", "meta"], "device 'meta' is not supported; use cpu, cuda, cuda:1 or auto"),
        (["--device", "cuda:99"], "device 'cuda:99'"),
        (["--plugin", "no_such"], "plugin 'no_such' cannot be imported: ModuleNotFoundError: No module named"),
        (["--plugin", "../x"], "plugin '../x' cannot be imported: "),
        (["--address", "auto"], "--local is one process without Ray; leave --address and --workers away"),
        (["--workers", "2"], "--local is one process without Ray; leave --address and --workers away"),
        (["--workers", "0"], "Invalid value for '--workers': 0 is not in the range x>=1."),
        (["--lokal"], "No such option"),
    ],
)  # fmt: skip
def test_a_wrong_option_of_run(arguments: list[str], says: str, root: Path) -> None:
    assert says in refused("run", study(root), "--root", root, "--local", *arguments)


def test_a_cluster_has_its_own_workers(root: Path) -> None:
    line = refused("run", study(root), "--root", root, "--address", "auto", "--workers", "2")
    assert line == "--workers is for this machine; a cluster at --address has its own"


@pytest.mark.parametrize("content", ["def (", "raise RuntimeError('not\\ntoday')", "import no_such_thing"])
def test_a_plugin_that_is_broken(content: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_plugin.py").write_text(content)
    monkeypatch.syspath_prepend(str(tmp_path))
    line = refused("run", study(root), "--root", root, "--local", "--plugin", "broken_plugin")
    assert line.startswith("plugin 'broken_plugin' cannot be imported: ")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["ls", "method"], "Invalid value for '{datasets"),
        (["ls"], "Missing argument"),
        (["rnu", "digits"], "no command 'rnu'; did you mean 'run'?"),
        (["--rot"], "No such option"),
        (["plan", "digits", "--workers", "0"], "'--workers': '0' must be whole numbers above 0, such as 8,64,512"),
        (["plan", "digits", "again"], "Got unexpected extra argument (again)"),
        (["status", "digits", "--root", "ROOT"], "no study 'digits' in ROOT"),
        (["show", "abc", "--root", "ROOT"], "no unit in ROOT begin with 'abc'; list them: harness query "),
        (["rank", "digits", "--root", "ROOT"], " is in ROOT; run the study first"),
        (["report", "digits", "--root", "ROOT"], " is in ROOT; run the study first"),
        (["attack", "fashion", "--root", "ROOT"], "study 'fashion' has no farm; give it one: farm: {shadows: 32}"),
        (["query", "select * from unit", "--root", "ROOT"], "no table 'unit'; did you mean 'units'?"),
        (["query", "drop table units"], "only one SELECT is executed, no other statement and not several"),
        (["query", "select * from read_csv('/etc/passwd')"], "read_csv is refused; a statement reads tables: "),
        (["query", "select 1; select 2"], "only one SELECT is executed"),
        (["query", "select nothing from units"], "the statement cannot be executed: "),
        (["query", "selct"], "only one SELECT is executed"),
        (["query", ""], "only one SELECT is executed"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_question_to_another_command(arguments: list[str], says: str, root: Path) -> None:
    line = refused(*[str(root) if argument == "ROOT" else argument for argument in arguments])
    assert says.replace("ROOT", str(root)) in line


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "arguments", "says"),
    [
        ("finetune", "finetun", [], "5: methods.0: no method 'finetun'; did you mean 'finetune'?"),
        ("", "", ["--device", "gpu"], "there is no device 'gpu'; use cpu, cuda, cuda:1 or auto"),
    ],
)
def test_the_script_itself_refuses_in_one_line(old: str, new: str, arguments: list[str], says: str, root: Path) -> None:
    answer = tiny_study.script("run", study(root, old, new), "--root", root, "--local", *arguments)
    assert (answer.code, answer.out, len(answer.lines)) == (2, "", 1)
    assert says in answer.err
