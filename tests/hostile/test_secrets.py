"""Passwords and keys are used and never told: not on a screen, not in a file of a root, not to MLflow, not to Ray."""

from __future__ import annotations

import io
import json
import re
import socket
import sqlite3
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import polars as pl
import pytest
import tiny_s3
import tiny_study
from hypothesis import given
from hypothesis import strategies as st
from tiny_hostile import lanes

from harness import registry
from harness.contracts import METHODS
from harness.errors import HarnessError, one_line
from harness.secrets import HIDDEN, has_secrets, without_secrets
from harness.store import Store

CANARY = re.compile(rb"canary", re.IGNORECASE)
VARIABLES: Mapping[str, str] = {
    "AWS_ACCESS_KEY_ID": "CANARY-access-key",
    "AWS_SECRET_ACCESS_KEY": "canary/secret+access=key",
    "AWS_SESSION_TOKEN": "canary-session-token",
    "RAY_AUTH_TOKEN": "ca" * 30 + "canary",
    "MLFLOW_TRACKING_TOKEN": "canary-tracking-token",
    "MLFLOW_TRACKING_PASSWORD": "canary-tracking-password",
    "HF_TOKEN": "canary-of-another-tool",
}
PLUGIN = '''
import os
from harness.contracts import RETAIN, method

@method(reads={RETAIN}, source="a test")
class Talkative:
    """Says what it knows."""

    def unlearn(self, model, data, run):
        print(os.environ["AWS_SECRET_ACCESS_KEY"], os.environ["RAY_AUTH_TOKEN"])
        uris = "s3://key:canary@bucket/runs https://user:canary@host/x?token=canary"
        raise RuntimeError(f"{uris} {os.environ['AWS_SECRET_ACCESS_KEY']} {os.environ['MLFLOW_TRACKING_TOKEN']}")
'''

PRINTED = f"{VARIABLES['AWS_SECRET_ACCESS_KEY']} {VARIABLES['RAY_AUTH_TOKEN']}\n"
"""What that method prints is shown as it is, to whoever runs it, and stored without secrets."""


@pytest.fixture(scope="module")
def closed_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("secrets")
    (folder / "talkative_plugin.py").write_text(PLUGIN)
    return tiny_study.write_study(folder, tiny_study.PLAIN, methods=["finetune", "talkative"])


@pytest.fixture
def environment(study: Path) -> Iterator[pytest.MonkeyPatch]:
    """Secrets in the environment of this process, and the plug-in on its path; the catalogs stay as found."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in VARIABLES.items():
            patch.setenv(name, value)
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.delenv("HARNESS_ROOT", raising=False)
        patch.syspath_prepend(str(study.parent))
        registry.load()
        patch.setattr(METHODS, "_specs", dict(METHODS._specs))
        yield patch
    registry.load.cache_clear()
    sys.modules.pop("talkative_plugin", None)


def refuse_canaries(what: str, content: bytes) -> None:
    found = CANARY.search(content)
    assert found is None, (what, content[max(0, found.start() - 200) : found.end() + 50])


def hushed(answer: tiny_study.Answer, *codes: int) -> tiny_study.Answer:
    """An answer has an expected code and tells no secret; an error is one line."""
    assert answer.code in codes, answer
    refuse_canaries("answer", (answer.out + answer.err.replace(PRINTED, "")).encode())
    if answer.code == 2:
        assert "Traceback" not in answer.err
        assert len([line for line in answer.lines if line.startswith("harness: ")]) == 1, answer.err
    return answer


def contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield all that the files of a folder hold: as they are, and what is packed unpacked."""
    for path in folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            yield str(path), data
            yield from unpacked(path.name, data)
            if path.suffix == ".db":
                with sqlite3.connect(path) as database:
                    yield f"{path}, dumped", "\n".join(database.iterdump()).encode()


def unpacked(name: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    if name.endswith(".parquet"):
        yield f"{name}, unpacked", repr(pl.read_parquet(io.BytesIO(data)).to_dicts()).encode()


def every_command(study: Path, root: str, trial: str) -> list[tuple[tuple[object, ...], tuple[int, ...]]]:
    plugin = ("--plugin", "talkative_plugin")
    return [
        (("status", "--root", root), (0,)),
        (("status", "--root", root, "--json"), (0,)),
        (("plan", study, "--root", root, "--json", *plugin), (0,)),
        (("rank", study, "--root", root, "--json", *plugin), (0,)),
        (("query", "select * from failures", "--root", root, "--format", "json"), (0,)),
        (("query", "select nothing from failures", "--root", root), (2,)),
        (("show", trial, "--root", root), (0,)),
        (("show", "ffffffffff", "--root", root), (2,)),
        (("report", study, "--root", root, *plugin), (0,)),
        (("repro", trial, "--root", root, *plugin), (2,)),
        (("repro", "ffffffffff", "--root", root, *plugin), (2,)),
        (("retry", study, "--failed", "--root", root, "--local", *plugin), (0, 1)),
        (("sync", "plain", "--root", root), (0, 2)),
        (("sync", "nothing", "--root", root), (2,)),
        (("open", "ffffffffff", "--root", root), (2,)),
        (("doctor", "--root", root), (0, 1)),
    ]


def test_nothing_in_a_bucket_nor_on_the_screen_tells_the_keys_of_the_bucket(
    study: Path, environment: pytest.MonkeyPatch, s3_port: int, closed_port: int
) -> None:
    """Keys in the URI of the root, and a password in that of an MLflow that is away."""
    place, options = tiny_s3.root(s3_port, "secrets").removeprefix("s3://").split("?")
    root = f"s3://CANARYKEY:canary%2Fsecret%2Bkey@{place}?{options}"
    environment.setenv("MLFLOW_TRACKING_URI", f"http://user:canary@127.0.0.1:{closed_port}/path")
    arguments = ("run", study, "--root", root, "--local", "--plugin", "talkative_plugin")
    ran = hushed(tiny_study.script(*arguments, PYTHONPATH=str(study.parent)), 1)
    assert f"MLflow is not up to date: MLflow at http://127.0.0.1:{closed_port}/path: " in ran.out
    assert f"report s3://{place}/reports/plain/index.html" in ran.out
    store = Store.open(root)
    (failed,) = store.scan("units").filter(status="failed").collect()["unit"].unique()
    for command, codes in every_command(study, root, failed):
        hushed(tiny_study.harness(*command), *codes)
    folders = ("commits", "tables", "studies", "reports", "models", "logs")
    files = [file.path for folder in folders for file in store._files.find(folder, "")]
    assert {path.split("/")[0] for path in files} == {"tables", "studies", "reports", "models"}
    for path in files:
        data = store._files.read(path)
        refuse_canaries(path, data)
        for name, content in unpacked(path, data):
            refuse_canaries(name, content)
    (told,) = store.scan("failures").filter(attempt=1).collect()["message"]
    assert told == f"s3://bucket/runs https://host/x?token={HIDDEN} {HIDDEN} {HIDDEN}", "the rest is told"


def test_nothing_in_a_folder_nor_in_mlflow_tells_what_is_in_the_environment(
    study: Path, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    root = str(tmp_path / "runs")
    arguments = ("run", study, "--root", root, "--local", "--plugin", "talkative_plugin")
    hushed(tiny_study.script(*arguments, PYTHONPATH=str(study.parent)), 1)
    assert (tmp_path / "runs" / "mlflow.db").exists()
    (failed,) = Store.open(root).scan("units").filter(status="failed").collect()["unit"].unique()
    for command, codes in every_command(study, root, failed):
        hushed(tiny_study.harness(*command), *codes)
    seen = []
    for name, content in contents(tmp_path / "runs"):
        refuse_canaries(name, content)
        seen.append(Path(name.partition(",")[0]).suffix)
    assert {".parquet", ".json", ".html", ".db", ".csv", ".safetensors"} <= set(seen)


WRONG = (
    "s3://CANARY:canary/with/slashes@bucket/runs",
    "s3://CANARY:canary",
    "s3://bucket/runs?secret_key=canary",
    "s3://bucket/runs?regionn=x&session_token=canary",
    "ftp://user:canary@host/runs",
    AWAY := "s3://CANARY:canary@results/runs?endpoint_override=127.0.0.1:1&scheme=http&region=x",
    "gs://CANARY:canary@bucket/runs",
    "https://canary@host/runs",
)


@pytest.mark.parametrize("root", [pytest.param(root, marks=pytest.mark.slow if root == AWAY else ()) for root in WRONG])
def test_a_wrong_root_is_refused_without_its_keys(root: str, study: Path, environment: pytest.MonkeyPatch) -> None:
    environment.setattr("harness.store.bucket.PATIENCE_SECONDS", 0)
    for command in (["status"], ["query", "select * from units"], ["rank", study, "--plugin", "talkative_plugin"]):
        hushed(tiny_study.harness(*command, "--root", root), 2)
    environment.setenv("HARNESS_ROOT", root)
    hushed(tiny_study.harness("run", study, "--local", "--plugin", "talkative_plugin"), 2)


OF_BUCKETS = [root for root in WRONG if root.startswith("s3")]


@pytest.mark.parametrize(
    "root", [*OF_BUCKETS[:2], *(pytest.param(root, marks=pytest.mark.slow) for root in OF_BUCKETS[2:])]
)
def test_a_job_never_carries_keys(root: str, study: Path, environment: pytest.MonkeyPatch) -> None:
    """Whoever sees the dashboard of a cluster sees the command and the metadata of every job."""
    plugin = ("--plugin", "talkative_plugin")
    address = "http://user:canary@127.0.0.1:1"
    hushed(tiny_study.harness("submit", study, "--address", address, "--root", root, *plugin), 2)
    good = ("--root", "s3://bucket/runs")
    options = ("--", "--root", root)
    answer = hushed(tiny_study.harness("submit", study, "--address", address, *good, *plugin, *options), 2)
    if has_secrets(root):
        assert "holds credentials" in answer.err
    hushed(tiny_study.harness("status", "--address", address), 2)
    hushed(tiny_study.harness("run", study, "--address", address, *good, *plugin), 2)


# What may stand in a password: all that a URI allows there, and what people forget to escape.
PASSWORDS = st.text("abCD019-._~!$&()*+,;=%/:", min_size=8, max_size=40).map(lambda text: f"canary{text}")


@lanes(short=100, full=5000)
def test_a_password_goes_wherever_a_uri_stands(examples: int) -> None:
    from hypothesis import settings

    @settings(max_examples=examples, deadline=None)
    @given(
        scheme=st.sampled_from(["s3", "http", "https", "postgresql", "mysql+pymysql"]),
        user=st.text("abc019-_", min_size=1, max_size=9),
        password=PASSWORDS,
        around=st.sampled_from(["{}", "cannot parse '{}'", 'in "{}": no', "a\n{}\nb", "x {} and {}", "({})"]),
        rest=st.sampled_from(["host:8265/path", "bucket/folder?region=x", "host", "b"]),
    )
    def check(scheme: str, user: str, password: str, around: str, rest: str) -> None:
        uri = f"{scheme}://{user}:{password}@{rest}"
        text = around.replace("{}", uri)
        shown = without_secrets(text)
        assert password not in shown
        assert "canary" not in shown
        assert shown == around.replace("{}", f"{scheme}://{rest}")
        assert without_secrets(shown) == shown
        assert "canary" not in str(HarnessError(text))
        assert "canary" not in one_line(ValueError(text))

    check()


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/runs/dataset=fashion_mnist@5000/part",
        "http://host:8265/a@b",
        "fashion_mnist@5000+poison:100",
        "s3://bucket/runs?endpoint_override=127.0.0.1:9000&scheme=http",
        "plan digits-1: 3 units; a@b.org",
        "",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert without_secrets(text) == text
    assert not has_secrets(text)


def test_secrets_of_the_environment_are_known_by_their_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "token-file"
    file.touch()
    told = {
        "SOME_API_KEY": "canary-api-key",
        "DB_PASSWORD": "canary-password",
        "MY_SECRET": "canary-secret, longer than canary-password",
    }
    untold = {
        "RAY_AUTH_TOKEN_PATH": str(file),
        "TOKENIZERS_PARALLELISM": "false",
        "GOOGLE_APPLICATION_CREDENTIALS": str(file),
    }
    for name, value in (told | untold).items():
        monkeypatch.setenv(name, value)
    text = json.dumps(told)
    assert not CANARY.search(without_secrets(text).encode())
    assert without_secrets(json.dumps(untold)) == json.dumps(untold)
