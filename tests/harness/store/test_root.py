"""Opening a root: where it is, what it creates, and that it says so when it cannot be written."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from harness.store import RootInvalid, RootNotWritable, Rows, Store
from harness.store import bucket as bucket_module
from harness.store.files import Files
from harness.store.parts import Parts


def test_the_root_is_the_argument_or_the_environment_or_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HARNESS_ROOT", raising=False)
    assert Store.open().uri == str(tmp_path / "runs")
    monkeypatch.setenv("HARNESS_ROOT", str(tmp_path / "elsewhere"))
    assert Store.open().uri == str(tmp_path / "elsewhere")
    assert Store.open("here").uri == str(tmp_path / "here")
    assert Store.open(f"file://{tmp_path}/there").uri == str(tmp_path / "there")
    assert Store.open("here").report_path("digits") == str(tmp_path / "here" / "reports" / "digits" / "index.html")
    assert not list(tmp_path.iterdir())


def test_writing_creates_folders_and_leaves_no_probe(root: Path) -> None:
    Store.open(str(root), write=True)
    assert {path.name for path in root.iterdir()} == {"commits", "tables", "models", "studies", "reports", "logs"}
    assert not [path for path in root.rglob("*") if path.is_file()]


def test_reading_creates_nothing_and_writes_nothing(root: Path, make_rows: Callable[..., Rows]) -> None:
    store = Store.open(str(root))
    writes: list[Callable[[], object]] = [
        lambda: store.commit("a", make_rows("a")),
        lambda: store.write_plan("p", {}),
        lambda: store.drop_model("a"),
        lambda: store.replace("definitions", pl.DataFrame({"metric": ["m"]}), {}),
        lambda: store.lease("p").__enter__(),
    ]
    for write in writes:
        with pytest.raises(RootNotWritable, match="opened for reading; open it with write=True"):
            write()
    assert (store.committed(), store.attempts(), store.plans(), store.has_model("a")) == (
        set(),
        {},
        [],
        False,
    )
    assert store.fold() == 0
    assert store.lease_holder("p") is None
    assert not root.exists()


def test_a_root_that_cannot_be_written_says_so_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(RootNotWritable, match="file") as caught:
            Store.open(str(root), write=True)
        assert "\n" not in str(caught.value)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Files, "_write_and_rename", refuse)
    with pytest.raises(RootNotWritable, match=r"Permission denied.*; allow this user to, or give another place$"):
        Store.open(str(tmp_path / "runs"), write=True)


class Silent:
    """An object store behind a cable that is cut."""

    def __getattr__(self, name: str) -> Callable[..., object]:
        def refuse(*_: object) -> object:
            raise ConnectionError(111, "Connection refused")

        return refuse


def test_a_root_that_does_not_answer_is_not_called_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else somebody deletes good files because of a network that was down."""
    monkeypatch.setattr(bucket_module, "PATIENCE_SECONDS", 0)
    files = Files("s3://key:secret@bucket/runs", Silent(), "bucket/runs", writable=True)
    store = Store(files.uri, files, Parts(files))
    asks = (store.committed, store.attempts, store.plans, store.fold, lambda: store.scan("units"))
    for ask in (
        *asks,
        lambda: store.read_plan("p"),
        lambda: store.load_model("a"),
        lambda: store.has_model("a"),
    ):
        with pytest.raises(RootInvalid, match=r"^s3://bucket/runs/.* cannot be read: .*Connection refused$"):
            ask()
    for change in (lambda: store.write_plan("p", {}), lambda: store.drop_model("a")):
        with pytest.raises(RootNotWritable, match=r"^s3://bucket/runs/.* cannot be (written|removed): .*refused$"):
            change()


@pytest.mark.parametrize("uri", ["http://example.org/x", "hdfs://a/b", "s3:/typo//x://", "gs://", "s3://"])
def test_a_uri_of_another_kind_is_refused(uri: str) -> None:
    with pytest.raises(RootInvalid, match="root "):
        Store.open(uri)


def test_a_file_is_no_root(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RootInvalid, match="is a file; give a folder"):
        Store.open(str(tmp_path / "file"))


def test_a_commit_to_an_object_store_is_one_object(bucket: Store, make_rows: Callable[..., Rows]) -> None:
    bucket.commit("a", make_rows("a"))
    assert [file.path for file in bucket._files.find("commits", "")] == ["commits/a.arrow"]


def test_a_store_that_travels_reads_the_same_elsewhere(root: Path, make_rows: Callable[..., Rows]) -> None:
    """Ray sends what it is given to other hosts; what this process has seen stays here."""
    store = Store.open(str(root), write=True)
    store.commit("a", make_rows("a"))
    store.fold()
    assert store.committed() == {"a"}
    elsewhere = pickle.loads(pickle.dumps(store))
    assert elsewhere == store
    assert elsewhere._parts._seen == {}
    assert elsewhere.committed() == {"a"}


def test_quick_commands_pay_for_nothing_heavy() -> None:
    heavy = ("torch", "ray", "mlflow", "sqlglot", "sklearn", "scipy", "pandas", "pyarrow.dataset", "duckdb")
    code = f"import harness.store, sys; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
