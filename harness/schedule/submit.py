"""A study as a job of a Ray cluster: code and study file travel to its head node, the log comes back.

Results and data never travel: the root is one that every node reaches, and data sets are read on the head node.
Nothing is installed there either: every node has the packages that the harness and the plug-ins import.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness import registry
from harness.errors import HarnessError
from harness.schedule import dashboard
from harness.schedule.cluster import NoRay
from harness.schedule.jobs import ROOT, STUDY
from harness.schedule.quiet import quiet
from harness.secrets import has_secrets
from harness.store.files import SCHEMES
from harness.study import load_study
from harness.version import VARIABLE, commit

STOPPED = 130
"""The exit code of a job that somebody stopped, as of a command that is interrupted."""

SILENT_SECONDS = 60.0
"""After so long without a word the connection is made anew: one that is cut in the middle stays silent."""

LOST_SECONDS = 60.0
"""How long a head node that was there is looked for before it is given up."""

AGAIN_SECONDS = 1.0


class InvalidJob(HarnessError):
    """A job that could not do its work where it would be sent."""


class JobFailed(HarnessError):
    """A job that ended before the harness could run in it."""


@dataclass(frozen=True)
class Job:
    """A job by Ray's id of it and the address of the dashboard, `http://HOST:8265`."""

    id: str
    address: str


def submit(
    study: str | Path,
    address: str,
    root: str | None = None,
    *,
    plugins: Sequence[str] = (),
    data: str | None = None,
    options: Sequence[str] = (),
) -> Job:
    """Send a study to the cluster whose dashboard is at `address`; returns when the job is accepted.

    Args:
        study: the path of its file, or the name of a suite.
        address: `http://HOST:PORT` of the dashboard on the head node; the token is Ray's affair (RAY_AUTH_MODE).
        root: where results go, as every node reaches it; None is $HARNESS_ROOT.
        plugins: modules with more tasks. They travel, like those that are installed here as entry points.
        data: the folder with the official files, on the head node.
        options: more options of `harness run`.

    Raises:
        HarnessError: the study, the root, a plug-in or the address is wrong; nothing was submitted.
    """
    root, address = shared_root(root), address.rstrip("/")
    if data is not None and not os.path.isabs(data):
        raise InvalidJob(f"data folder {data!r} is relative; the head node reads it: give its absolute path there")
    if any(map(has_secrets, options)):
        raise InvalidJob("an option holds credentials, and everyone who sees the cluster sees its jobs; leave it away")
    registry.load(tuple(plugins))
    loaded = load_study(study)
    installed = (point.module for point in entry_points(group=registry.ENTRY_POINTS))
    modules = tuple(dict.fromkeys((*installed, *plugins)))
    file = registry.suites().get(str(study), Path(study))
    with quiet(None), parcel(file, modules) as runtime_env:
        client = dashboard.connect(address)
        command = _command(file.name, root, modules, data, options)
        try:
            about = {STUDY: loaded.name, ROOT: root}
            return Job(client.submit_job(entrypoint=command, runtime_env=runtime_env, metadata=about), address)
        except Exception as error:
            raise NoRay(f"{address} did not take the job: {dashboard.reason(error)}") from error


def _command(study: str, root: str, modules: Sequence[str], data: str | None, options: Sequence[str]) -> str:
    """Return what the shell of a job runs, in the folder with the study file."""
    command = ["python", "-m", "harness", "run", f"./{study}", *options, "--address", "auto", "--root", root]
    command += [] if data is None else ["--data", data]
    command += [part for module in modules for part in ("--plugin", module)]
    return shlex.join(command)


def shared_root(root: str | None) -> str:
    """Return a root (None: $HARNESS_ROOT) that can mean the same on every node, or raise `InvalidJob`."""
    root = root or os.environ.get("HARNESS_ROOT")
    right = "give one that every node reaches, as an absolute path or s3:// or gs://"
    if not root:
        raise InvalidJob(f"a job has no root of its own; {right}")
    scheme, is_uri, _ = root.partition("://")
    if is_uri and scheme not in SCHEMES:
        raise InvalidJob(f"root {root!r} is not supported; {right}")
    if is_uri and has_secrets(root):
        raise InvalidJob(f"the root holds credentials, and everyone who sees the cluster sees its jobs; {right}")
    if not is_uri and not os.path.isabs(root):
        raise InvalidJob(f"root {root!r} is relative to a folder of this machine; {right}")
    return root


@contextmanager
def parcel(study: Path, plugins: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield what travels, as Ray's runtime environment: packages, and a folder made for the study file alone.

    A plug-in of one file lies in that folder too, which is on the path of every process: Ray takes packages only.
    """
    names = dict.fromkeys(name.partition(".")[0] for name in (__name__, *registry.BUILT_IN, *plugins))
    places = [_place(name) for name in names]
    with tempfile.TemporaryDirectory(prefix="harness-") as folder:
        for file in (study, *(place for place in places if place.is_file())):
            shutil.copyfile(file, Path(folder, file.name))
        packages = [str(place) for place in places if place.is_dir()]
        yield {"working_dir": folder, "py_modules": packages, "env_vars": {VARIABLE: commit() or ""}}


def _place(name: str) -> Path:
    """Return the folder of a package, or the file of a module."""
    spec = find_spec(name)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    if len(folders) == 1:
        return Path(folders[0])
    if not folders and spec and spec.origin and spec.origin.endswith(".py"):
        return Path(spec.origin)
    raise InvalidJob(f"plugin {name!r} is neither a folder nor a .py file; only those can be sent to a cluster")


def follow(job: Job, write: Callable[[str], object]) -> int:
    """Pass the log of a job to `write` until the job ends; return its exit code, `STOPPED` if it was stopped.

    Leaving it by KeyboardInterrupt does nothing to the job. Raises `JobFailed` for a job that never ran, and
    `NoRay` if the head node does not answer any more.
    """
    with quiet(None):
        client = dashboard.connect(job.address)
        asyncio.run(_tail(client, job, write))
        details = client.get_job_info(job.id)
    code = details.driver_exit_code
    if code is not None:
        return int(code) if code >= 0 else 128 - int(code)
    if details.status == "STOPPED":
        return STOPPED
    raise JobFailed(f"job {job.id} did not run: {_ends(details.message or '')}")


async def _tail(client: Any, job: Job, write: Callable[[str], object]) -> None:
    """Read the log, over as many connections as it takes, until the job has ended."""
    log = _Log(client, job, write)
    heard = time.monotonic()
    while True:
        whole = await log.read()
        try:
            ended = client.get_job_status(job.id).is_terminal()
            heard = time.monotonic()
        except Exception as error:
            if time.monotonic() - heard > LOST_SECONDS:
                raise NoRay(
                    f"lost {job.address}, and job {job.id} may go on there: {dashboard.reason(error)}"
                ) from error
            ended = False
        if ended:
            if not whole:
                await log.read()
            return
        await asyncio.sleep(AGAIN_SECONDS)


class _Log:
    """The log of a job as far as it was passed on; each connection begins at its first character again."""

    def __init__(self, client: Any, job: Job, write: Callable[[str], object]) -> None:
        self._client, self._job, self._write = client, job, write
        self._passed = 0

    async def read(self) -> bool:
        """Pass on what is new until the log ends, or, which returns False, the connection does."""
        from aiohttp import ClientError

        position = 0
        with suppress(TimeoutError, RuntimeError, ClientError):
            async with asyncio.timeout(SILENT_SECONDS) as silence:
                async for text in self._client.tail_job_logs(self._job.id):
                    silence.reschedule(asyncio.get_running_loop().time() + SILENT_SECONDS)
                    position += len(text)
                    self._pass_on(text[max(0, len(text) - (position - self._passed)) :])
            return True
        return False

    def _pass_on(self, text: str) -> None:
        self._passed += len(text)
        self._write(dashboard.CHATTER.sub("", text))


def _ends(text: str) -> str:
    """Return the first and the last line: what failed, and, after a traceback, why."""
    lines = text.strip().splitlines() or ["Ray does not say why"]
    return " ... ".join(dashboard.short(line) for line in dict.fromkeys((lines[0], lines[-1])))
