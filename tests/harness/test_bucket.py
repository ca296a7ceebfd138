"""Whole studies whose root is in an object store: the same tables as on a disk, and every command works there."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tiny_s3
import tiny_study
from polars.testing import assert_frame_equal
from tiny_s3 import Asked, Network

from harness.store import Store

AUDITED: dict[str, Any] = {"measures": ["accuracy", "retention_deviation", "population_mia", "ulira"]}
SEARCHED: dict[str, Any] = {
    "name": "searched",
    "methods": ["finetune", "ct"],
    "seeds": 1,
    "farm": None,
    "measures": ["accuracy", "anamnesis"],
    "search": {"trials": 3, "sampler": "nsga3", "seeds": 1},
    "scenarios": ["random:0.1", "class:3"],
}


@dataclass(frozen=True)
class Twins:
    """One study in two roots: a folder and a bucket, and what the runs in them said."""

    study: Path
    folder: Path
    bucket: str
    network: Network
    ran: tiny_study.Answer
    asked: tuple[Asked, ...]


STUDIES = [pytest.param(AUDITED, id="farm"), pytest.param(SEARCHED, id="search", marks=pytest.mark.slow)]


@pytest.fixture(scope="module", params=STUDIES)
def twins(request: pytest.FixtureRequest, s3_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    folder = tmp_path_factory.mktemp("twins")
    study = tiny_study.write_study(folder, **request.param)
    with tiny_s3.network(s3_port) as network, pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        here = tiny_study.harness("run", study, "--root", folder / "runs", "--local")
        assert here.code == 0, here.err
        bucket = tiny_s3.root(network.port, folder.name + str(request.param_index))
        there = tiny_study.harness("run", study, "--root", bucket, "--local")
        assert there.code == 0, there.err
        yield Twins(study, folder / "runs", bucket, network, there, tuple(network.asked))


def test_the_tables_are_those_of_a_folder(twins: Twins) -> None:
    here, there = tiny_study.tables(twins.folder), tiny_study.tables(twins.bucket)
    for name in here:
        assert_frame_equal(there[name], here[name], check_exact=True)
    assert len(there["units"])


def test_nothing_is_left_on_this_machine_and_no_commit_in_the_bucket(twins: Twins) -> None:
    assert sorted(os.listdir(twins.study.parent)) == ["runs", twins.study.name]
    store = Store.open(twins.bucket)
    assert not store._files.find("commits", "")
    written = {one.key.split("/")[1] for one in twins.asked if one.method == "PUT"}
    assert written == {"commits", "models", "reports", "studies", "tables"}


def test_the_page_is_in_the_bucket_and_mlflow_where_it_is_told(twins: Twins, monkeypatch: pytest.MonkeyPatch) -> None:
    place = re.escape(twins.bucket.partition("?")[0])
    study = twins.study.stem
    assert re.search(f"^report {place}/reports/{study}/index.html ", twins.ran.out, re.MULTILINE)
    page = Store.open(twins.bucket).read_report(study)
    assert page is not None
    assert page.startswith(b"<!DOCTYPE html>")
    assert f"MLflow is not up to date: root {place.replace(chr(92), '')} is remote; set MLFLOW_" in twins.ran.out
    answer = tiny_study.harness("sync", study, "--root", twins.bucket)
    assert (answer.code, len(answer.lines)) == (2, 1)
    database = twins.study.parent / "mlflow" / "mlflow.db"
    database.parent.mkdir(exist_ok=True)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
    answer = tiny_study.harness("sync", study, "--root", twins.bucket)
    assert answer.code == 0, answer.err
    (kept,) = database.parent.glob("mlartifacts/**/report.html")
    assert kept.read_bytes() == page
    database.unlink()
    for path in sorted(database.parent.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    database.parent.rmdir()


def test_every_command_says_the_same_of_both(twins: Twins) -> None:
    unit = tiny_study.tables(twins.folder)["units"].filter(kind="unlearn")["unit"][0]
    commands: list[list[object]] = [
        ["status", "--json"],
        ["plan", twins.study, "--json"],
        ["rank", twins.study, "--json"],
        ["query", "select kind, status, count(*) from units group by kind, status order by kind", "--format", "json"],
        ["retry", twins.study, "--failed", "--local"],
        *([["attack", twins.study, "--json"]] if "farm" in twins.study.read_text() else []),
    ]
    for command in commands:
        answers = [tiny_study.harness(*command, "--root", root) for root in (twins.folder, twins.bucket)]
        assert answers[0].code == answers[1].code == 0, answers
        assert _timeless(answers[0].out) == _timeless(answers[1].out), command
    for command in (["show", unit], ["repro", unit], ["audit-determinism", twins.study, "--share", "0.05"]):
        answer = tiny_study.harness(*command, "--root", twins.bucket)
        assert answer.code == 0, answer
    answer = tiny_study.harness("report", twins.study, "--root", twins.bucket)
    assert (answer.code, answer.out) == (0, f"{Store.open(twins.bucket).report_path(twins.study.stem)}\n")
    assert re.search(
        r"ok +root +" + re.escape(Store.open(twins.bucket).address) + " can be written",
        tiny_study.harness("doctor", "--root", twins.bucket).out,
    )


def _timeless(text: str) -> Any:
    """Return an answer without measured times and what follows from them."""
    try:
        document = json.loads(text)
    except ValueError:
        return text
    if isinstance(document, dict):
        return {name: value for name, value in document.items() if isinstance(value, str | int | list)}
    rows = [row for row in document if row.get("metric") not in tiny_study.TIMED]
    return [{name: value for name, value in row.items() if name != "last"} for row in rows]


def test_requests_are_a_few_for_each_unit_and_a_fixed_number_besides(twins: Twins) -> None:
    """A commit is one PUT. Looking for work, folding and the views ask for as many listings, however many units."""
    units = len(tiny_study.tables(twins.folder)["units"])
    commits = Counter(one.method for one in twins.asked if "/commits/" in one.key and one.key.endswith(".arrow"))
    assert commits["PUT"] == commits["DELETE"] == units
    assert sum(commits.values()) <= 8 * units
    listings = sum(one.is_listing for one in twins.asked)
    assert listings <= 160, listings
    others = len(twins.asked) - sum(commits.values()) - listings
    assert others <= 8 * units + 160, Counter((one.method, one.key.split("/")[1]) for one in twins.asked)
    before = len(twins.network.asked)
    assert tiny_study.harness("status", "--root", twins.bucket).code == 0
    assert len(twins.network.asked) - before <= 30
