"""Studies as jobs of a head node that wants a token: what they leave, how they end, and what is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny_study
from hypothesis import given
from hypothesis import strategies as st
from tiny_cluster import BIN, END_SECONDS, Head, head_node

from harness.schedule import NoRay, dashboard, submit
from harness.schedule.jobs import NoSuchJob, jobs
from harness.schedule.submit import STOPPED, InvalidJob, Job, JobFailed, follow, parcel, shared_root
from harness.store import Store

PLUGIN = '''
import harness
from harness.contracts import RETAIN, method

@method(reads={RETAIN}, source="a test")
class Broken:
    """Tells where its code comes from."""

    def unlearn(self, model, data, run):
        raise RuntimeError(f"{harness.__file__} {__file__}")
'''

SECRETS = {"AWS_SECRET_ACCESS_KEY": "canary-of-a-bucket", "MLFLOW_TRACKING_PASSWORD": "canary-of-mlflow"}
"""Of the one who submits."""


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with head_node() as started:
        yield started


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a plug-in that the head node does not know."""
    folder = tmp_path_factory.mktemp("plugins")
    (folder / "shipped.py").write_text(PLUGIN)
    return folder


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five units: an original, a retrain, the no-op, a trial, and one that fails."""
    methods = ["finetune", "broken"]
    return tiny_study.write_study(tmp_path_factory.mktemp("study"), tiny_study.PLAIN, methods=methods)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("root") / "runs"


Submit = Callable[..., list[str]]


@pytest.fixture(scope="module")
def sent(head: Head, plugins: Path, root: Path) -> Submit:
    """The arguments of a submission to the head node, with the plug-in."""

    def arguments(study: Path, *more: object, root: Path = root) -> list[str]:
        start = ["submit", study, "--address", head.address, "--root", root, "--plugin", "shipped"]
        return [str(part) for part in (*start, *more)]

    return arguments


@pytest.fixture(scope="module")
def known(head: Head, plugins: Path) -> Mapping[str, str]:
    """The environment of the one who submits."""
    return {
        **head.environment,
        **SECRETS,
        "PYTHONPATH": os.pathsep.join([str(plugins), os.environ.get("PYTHONPATH", "")]),
    }


@pytest.fixture(scope="module")
def finished_job(sent: Submit, known: Mapping[str, str], study: Path) -> tiny_study.Answer:
    elsewhere = "http://127.0.0.1:1"  # Ray would prefer it to the address that it is given
    return tiny_study.script(*sent(study), **known, RAY_ADDRESS=elsewhere)


@pytest.mark.ray
@pytest.mark.slow
def test_a_job_leaves_the_tables_of_a_run_here(
    finished_job: tiny_study.Answer, known: Mapping[str, str], study: Path, root: Path, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    answer = tiny_study.script("run", study, "--root", here, "--plugin", "shipped", "--local", **known)
    assert answer.code == finished_job.code == 1, finished_job.out + finished_job.err
    theirs, ours = tiny_study.tables(root), tiny_study.tables(here)
    assert ours["units"].height == 5
    for name in ours.keys() - {"failures"}:
        same = [column for column in ours[name].columns if column not in ("share", "versions")]
        assert theirs[name].select(same).equals(ours[name].select(same)), name


@pytest.mark.ray
@pytest.mark.slow
def test_the_log_is_the_harness_speaking(finished_job: tiny_study.Answer) -> None:
    first, *log = finished_job.out.splitlines()
    assert first.startswith("job raysubmit_")
    assert finished_job.err == ""
    assert "5 units to run" in log[0]
    assert any(line.split()[1:2] == ["finetune"] for line in log), "the ranking"
    assert not [line for line in log if "Runtime env" in line or "entrypoint" in line or "INFO" in line]


@pytest.mark.ray
@pytest.mark.slow
def test_the_code_that_ran_is_what_was_sent(finished_job: tiny_study.Answer, root: Path) -> None:
    (failure,) = Store.open(str(root)).scan("failures").collect().rows(named=True)
    harness, plugin = failure["message"].split()
    assert "_ray_pkg_" in harness
    assert "_ray_pkg_" in plugin


@pytest.mark.ray
@pytest.mark.slow
def test_whoever_sees_the_cluster_sees_no_secret(finished_job: tiny_study.Answer, head: Head, root: Path) -> None:
    """The command of a job, its metadata and environment, its log, and what the nodes tell."""
    job = finished_job.out.split()[1]
    paths = ("/api/jobs/", f"/api/jobs/{job}/logs", "/nodes?view=summary", "/api/v0/tasks?limit=100", "/api/v0/actors")
    told = [json.dumps(head.ask(path)) for path in paths]
    assert "RAY_AUTH_MODE" not in told[0]
    logs = [path.read_text(errors="replace") for path in (root / "logs").iterdir()]
    for text in (*told, *logs, finished_job.out, finished_job.err):
        for secret in (head.token, *SECRETS.values()):
            assert secret not in text


@pytest.mark.ray
@pytest.mark.slow
def test_another_terminal_sees_how_far_it_is(
    finished_job: tiny_study.Answer, head: Head, known: Mapping[str, str], root: Path
) -> None:
    answer = tiny_study.script("status", "plain", "--address", head.address, "--json", **known)
    told = next(row for row in json.loads(answer.out) if row["job"] == finished_job.out.split()[1])
    assert (told["study"], told["root"], told["state"]) == ("plain", str(root), "FAILED"), "a unit failed"
    assert told["started"] <= told["ended"]


@pytest.mark.ray
@pytest.mark.slow
def test_detach_returns_at_once_and_what_the_job_finds_is_in_its_log(
    head: Head, sent: Submit, known: Mapping[str, str], study: Path
) -> None:
    answer = tiny_study.script(*sent(study, "--detach", root=Path("/proc/runs")), **known)
    job = answer.out.split()[1]
    assert (answer.code, answer.out) == (0, f"job {job} at {head.address}\n")
    head.wait(job, "FAILED")
    assert head.ask(f"/api/jobs/{job}")["driver_exit_code"] == 2
    assert "harness: root /proc/runs cannot be written" in head.ask(f"/api/jobs/{job}/logs")["logs"]


@pytest.mark.ray
@pytest.mark.slow
def test_ctrl_c_detaches_and_what_it_prints_works(
    head: Head, sent: Submit, known: Mapping[str, str], study: Path, tmp_path: Path
) -> None:
    client = tiny_study.start(*sent(study, root=tmp_path / "other"), **known)
    job = client.stdout.readline().split()[1]
    client.send_signal(signal.SIGINT)
    _, err = client.communicate(timeout=END_SECONDS)
    assert client.returncode == 130
    assert head.status(job) in ("PENDING", "RUNNING")
    assert f"harness status --root {tmp_path / 'other'}" in err
    (stop,) = [line.partition("  ")[2].split() for line in err.splitlines() if "job stop" in line]
    subprocess.run([BIN / stop[0], *stop[1:]], env=os.environ | known, check=True, capture_output=True)
    assert head.status(job) == "STOPPED"


@pytest.mark.ray
@pytest.mark.slow
def test_a_job_ends_though_its_client_is_killed(
    head: Head, sent: Submit, known: Mapping[str, str], study: Path, tmp_path: Path
) -> None:
    root = tmp_path / "runs"
    client = tiny_study.start(*sent(study, "--", "--where", "kind=original", root=root), **known)
    job = client.stdout.readline().split()[1]
    client.kill()
    client.communicate()
    head.wait(job, "SUCCEEDED")
    assert len(tiny_study.committed(root)) == 1


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "right"),
    [
        ({"RAY_AUTH_TOKEN": "ef" * 32}, "RAY_AUTH_TOKEN_PATH"),
        ({"RAY_AUTH_MODE": "disabled"}, "RAY_AUTH_MODE=token"),
        ({"RAY_AUTH_TOKEN": "", "RAY_AUTH_TOKEN_PATH": "/nowhere/token"}, "/nowhere/token"),
    ],
    ids=["wrong", "none", "unreadable"],
)
def test_a_wrong_token_is_one_line(
    changes: Mapping[str, str], right: str, head: Head, sent: Submit, known: Mapping[str, str], study: Path
) -> None:
    jobs = len(head.ask("/api/jobs/"))
    answer = tiny_study.script(*sent(study), **{**known, **changes})
    assert (answer.code, answer.out, len(answer.lines)) == (2, "", 1)
    assert answer.err.startswith(f"harness: no Ray at {head.address}: ")
    assert right in answer.err
    assert len(head.ask("/api/jobs/")) == jobs


def test_nothing_is_sent_of_a_wrong_question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(address: str) -> None:
        raise AssertionError("the cluster was asked")

    monkeypatch.setattr(dashboard, "connect", refuse)
    monkeypatch.delenv("HARNESS_ROOT", raising=False)
    good = tiny_study.write_study(tmp_path, tiny_study.PLAIN)
    unknown = tiny_study.write_study(tmp_path, tiny_study.PLAIN, name="unknown", methods=["fintune"])
    shared = ["--root", tmp_path]
    for study, options, right in [
        (unknown, shared, "did you mean 'finetune'"),
        (good, [], "give one that every node reaches"),
        (good, ["--root", "runs"], "as an absolute path or s3://"),
        (good, [*shared, "--data", "data"], "give its absolute path there"),
        (good, [*shared, "--plugin", "no_such_module"], "'no_such_module' cannot be imported"),
        (good, [*shared, "--", "--limits", "1"], "Did you mean '--limit'"),
    ]:
        answer = tiny_study.harness("submit", study, "--address", "http://127.0.0.1:1", *options)
        assert (answer.code, answer.out, len(answer.lines)) == (2, "", 1)
        assert right in answer.err


@pytest.mark.parametrize(
    "address", ["auto", "ray://127.0.0.1:10001", "127.0.0.1:6379", "http://127.0.0.1:1", "http://"]
)
def test_no_head_is_one_line(address: str, tmp_path: Path) -> None:
    study = tiny_study.write_study(tmp_path, tiny_study.PLAIN)
    answer = tiny_study.harness("submit", study, "--address", address, "--root", tmp_path)
    assert (answer.code, answer.out, len(answer.lines)) == (2, "", 1)
    assert answer.err.startswith("harness: no Ray at ")


@pytest.mark.parametrize("root", ["runs", "./runs", "~/runs", "ftp://host/runs", "s3://key:secret@bucket/runs", ""])
def test_a_root_that_no_other_node_reaches_is_refused(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_ROOT", root)
    with pytest.raises(InvalidJob) as refusal:
        shared_root(None)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("root", ["/shared/runs", "file:///shared/runs", "s3://bucket/runs?region=eu-1", "gs://bucket"])
def test_a_shared_root_stays_as_it_is(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_ROOT", root)
    assert shared_root(None) == shared_root(root) == root


def test_code_and_study_travel_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "one_file.py").touch()
    (tmp_path / "a_package").mkdir()
    (tmp_path / "a_package" / "__init__.py").touch()
    for folder in ("runs", "data"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "large").touch()
    study = tiny_study.write_study(tmp_path, tiny_study.PLAIN)
    with parcel(study, ["one_file", "a_package.methods"]) as runtime_env:
        assert {path.name for path in Path(runtime_env["working_dir"]).iterdir()} == {study.name, "one_file.py"}
        assert [Path(place).name for place in runtime_env["py_modules"]] == ["harness", "tasks", "a_package"]
        assert runtime_env.keys() == {"working_dir", "py_modules", "env_vars"}, "nothing is installed there"
        assert runtime_env["env_vars"].keys() == {"HARNESS_COMMIT"}
    assert not Path(runtime_env["working_dir"]).exists()


@dataclass
class Cluster:
    """In place of Ray's client: jobs of the harness, and of somebody else."""

    logs: Mapping[str, str]

    def list_jobs(self) -> list[Any]:
        hours = dict(zip(self.logs, range(len(self.logs), 0, -1), strict=True))
        own = [
            SimpleNamespace(
                submission_id=study,
                metadata={"harness.study": study, "harness.root": f"/runs/{study}"},
                status="RUNNING",
                start_time=3_600_000 * hours[study],
                end_time=None,
            )
            for study in self.logs
        ]
        return [*own, SimpleNamespace(submission_id="other", metadata=None), SimpleNamespace(metadata={"by": "them"})]

    def get_job_logs(self, job: str) -> str:
        return self.logs[job]


def test_the_jobs_of_a_cluster_are_told_by_their_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    progress = [f"trials {done}/9, farm 0/4; 2 busy, 0 failed, 1 cached; about 3.0 s left" for done in (2, 5)]
    begun = "digits-1: 9 units to run, 1 cached\n"
    logs = {"digits": "\n".join([begun, *progress, "failed: one unit"]), "mine": begun}
    monkeypatch.setattr(dashboard, "connect", lambda address: Cluster(logs))
    told = jobs("http://head:8265")
    assert [(one.study, one.progress) for one in told] == [("mine", ""), ("digits", progress[1])], "the oldest first"
    assert [one.root for one in jobs("http://head:8265", "digits")] == ["/runs/digits"]
    answer = tiny_study.harness("status", "--address", "http://head:8265")
    assert [line.split()[:3] for line in answer.out.splitlines()] == [
        ["job", "study", "state"],
        ["mine", "mine", "RUNNING"],
        ["digits", "digits", "RUNNING"],
    ]
    with pytest.raises(NoSuchJob, match=r"no job of study 'digit' at http://head:8265; did you mean 'digits'\?"):
        jobs("http://head:8265", "digit")


@dataclass
class Dashboard:
    """In place of Ray's client: a log in chunks, a connection that breaks, a status that fails now and then."""

    log: list[str] = field(default_factory=list)
    breaks: list[tuple[int, type[Exception]]] = field(default_factory=list)
    failures: list[bool] = field(default_factory=list)
    details: Mapping[str, Any] = field(default_factory=dict)

    async def tail_job_logs(self, job: str) -> AsyncIterator[str]:
        chunks, error = self.breaks.pop() if self.breaks else (len(self.log), None)
        for text in self.log[:chunks]:
            yield text
        if error is not None:
            raise error

    def get_job_status(self, job: str) -> Any:
        if self.failures and self.failures.pop():
            raise ConnectionError("away")
        return SimpleNamespace(is_terminal=lambda: not self.breaks)

    def get_job_info(self, job: str) -> Any:
        nothing = {"driver_exit_code": None, "status": "SUCCEEDED", "message": None}
        return SimpleNamespace(**{**nothing, "driver_exit_code": 0, **self.details})


JOB = Job("raysubmit_x", "http://head:8265")


def _follow(client: Dashboard, job: Job = JOB) -> tuple[int, str]:
    told: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dashboard, "connect", lambda address: client)
        patch.setattr(submit, "AGAIN_SECONDS", 0)
        return follow(job, told.append), "".join(told)


@given(
    log=st.lists(st.text("ab\n", min_size=1, max_size=5).map(lambda line: line + "\n"), max_size=8),
    breaks=st.lists(st.tuples(st.integers(0, 8), st.sampled_from([RuntimeError, TimeoutError])), max_size=5),
    failures=st.lists(st.booleans(), max_size=5),
)
def test_a_log_comes_once_and_whole_whatever_connections_do(
    log: list[str], breaks: list[tuple[int, type[Exception]]], failures: list[bool]
) -> None:
    assert _follow(Dashboard(log, breaks, failures)) == (0, "".join(log))


def test_what_ray_says_in_a_log_is_left_out() -> None:
    log = [
        "2026\tINFO job_manager.py:581 -- Runtime env is setting up.\nRunning entrypoint for job raysubmit_x: run\na\n"
    ]
    assert _follow(Dashboard(log)) == (0, "a\n")


@pytest.mark.parametrize(
    ("details", "code"),
    [
        ({"driver_exit_code": 2, "status": "FAILED"}, 2),
        ({"driver_exit_code": -9, "status": "FAILED"}, 137),
        ({"driver_exit_code": None, "status": "STOPPED"}, STOPPED),
    ],
)
def test_the_exit_code_is_that_of_the_job(details: Mapping[str, Any], code: int) -> None:
    assert _follow(Dashboard(details=details))[0] == code


def test_a_job_that_never_ran_says_why() -> None:
    details = {"driver_exit_code": None, "status": "FAILED", "message": "setup failed\nTraceback\nno room"}
    with pytest.raises(JobFailed, match=r"raysubmit_x did not run: setup failed \.\.\. no room"):
        _follow(Dashboard(details=details))


def test_a_head_that_is_gone_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit, "LOST_SECONDS", 0)
    with pytest.raises(NoRay, match="lost http://head:8265, and job raysubmit_x may go on there: away"):
        _follow(Dashboard(failures=[True] * 9))
