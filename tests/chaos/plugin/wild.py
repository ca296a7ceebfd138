"""Methods that do to their process, and to what they are given, all that research code ever did.

With $WILD_POLITE set they only seem to: what fails raises at once, what comes to its end does the same to its model.
What a method does the first time only, and whom it leaves behind, it notes in files in $WILD_FOLDER.
"""

from __future__ import annotations

import ctypes
import gc
import itertools
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from harness.contracts import FORGET, RETAIN, Run, View, method

Act = Callable[[nn.Module, View, Run], Any]
READS = (RETAIN, FORGET)


class Refused(Exception):
    """What a polite method raises that has to fail."""


def polite() -> bool:
    return "WILD_POLITE" in os.environ


def folder() -> Path:
    return Path(os.environ["WILD_FOLDER"])


def first_time(name: str) -> bool:
    """Whether nobody was here before, in this process or another."""
    try:
        (folder() / f"first-{name}").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def nudged(model: nn.Module) -> nn.Module:
    """Change every weight a little, with random numbers in it."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1e-3 * torch.randn(parameter.shape))
    return model


def declare(act: Act, unlearn: Act) -> Act:
    """Declare a method with the name and the documentation of `act`."""
    cls = type("".join(part.title() for part in act.__name__.split("_")), (), {"unlearn": unlearn})
    cls.__doc__, cls.__module__ = act.__doc__, __name__
    method(reads=READS, source="test", name=act.__name__)(cls)
    return act


def fails(act: Act) -> Act:
    """Declare a method that cannot come to its end, or whose model nobody can use."""

    def unlearn(self: object, model: nn.Module, data: View, run: Run) -> nn.Module:
        if polite():
            raise Refused
        return act(model, data, run)

    return declare(act, unlearn)


def succeeds(act: Act) -> Act:
    """Declare a method that does something beside what it does to its model."""

    def unlearn(self: object, model: nn.Module, data: View, run: Run) -> nn.Module:
        nudged(model)
        if not polite():
            act(model, data, run)
        return model

    return declare(act, unlearn)


# Hangs


@fails
def hangs_in_python(model: nn.Module, data: View, run: Run) -> Any:
    """Count for ever."""
    while True:
        pass


@fails
def hangs_in_c(model: nn.Module, data: View, run: Run) -> Any:
    """Hold Python's lock for ever, deaf to signals."""
    return sum(itertools.repeat(0))


@fails
def swallows_exceptions(model: nn.Module, data: View, run: Run) -> Any:
    """Go on whatever happens, as careless loops do."""
    while True:
        try:
            time.sleep(0.01)
        except Exception:
            continue


@fails
def swallows_everything(model: nn.Module, data: View, run: Run) -> Any:
    """Go on whatever happens, as the most careless loops do."""
    while True:
        try:
            time.sleep(0.01)
        except:  # noqa: E722
            continue


@fails
def hangs_without_trace(model: nn.Module, data: View, run: Run) -> Any:
    """Remove the file that its process keeps open for its stack, and hang."""
    for opened in map(os.path.realpath, Path("/proc/self/fd").iterdir()):
        if opened.endswith(".trace"):
            os.unlink(opened)
    while True:
        time.sleep(1)


@fails
def stops_itself(model: nn.Module, data: View, run: Run) -> Any:
    """Have the whole process wait for a signal that nobody sends."""
    os.kill(os.getpid(), signal.SIGSTOP)


# Memory


def room(size: int) -> None:
    """Let this process have no more than so many bytes beside what it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + size, resource.RLIM_INFINITY))


@fails
def fills_memory(model: nn.Module, data: View, run: Run) -> Any:
    """Need more memory than there is."""
    room(2**26)
    return [bytearray(2**24) for _ in range(100)]


@fails
def fills_memory_of_torch(model: nn.Module, data: View, run: Run) -> Any:
    """Need a larger tensor than there is memory."""
    room(2**26)
    return torch.ones(2**27)


@fails
def is_killed(model: nn.Module, data: View, run: Run) -> Any:
    """End as the system ends who has taken too much memory."""
    os.kill(os.getpid(), signal.SIGKILL)


@succeeds
def is_killed_once(model: nn.Module, data: View, run: Run) -> Any:
    """End as the system ends who has taken too much memory together with its neighbours."""
    if first_time("killed"):
        os.kill(os.getpid(), signal.SIGKILL)


# Processes and threads


def leave(pid: int) -> None:
    """Note a process that is left behind."""
    (folder() / f"left-{pid}").touch()


@succeeds
def forks(model: nn.Module, data: View, run: Run) -> Any:
    """Return twice."""
    os.fork()


@succeeds
def forks_and_raises(model: nn.Module, data: View, run: Run) -> Any:
    """Return once and raise once."""
    if os.fork() == 0:
        raise RuntimeError("in the copy")


@succeeds
def leaves_processes(model: nn.Module, data: View, run: Run) -> Any:
    """Leave a copy, a program and an orphan behind."""
    child = os.fork()
    if child == 0:
        time.sleep(100_000)
    leave(child)
    leave(subprocess.Popen(["sleep", "100000"]).pid)
    leave(int(subprocess.check_output(["sh", "-c", "sleep 100000 >/dev/null 2>&1 & echo $!"])))


@succeeds
def leaves_a_thread(model: nn.Module, data: View, run: Run) -> Any:
    """Leave a thread behind that draws random numbers and prints."""

    def draw() -> None:
        while True:
            torch.rand(1), np.random.rand(), random.random(), print("noise")
            time.sleep(0.0001)

    threading.Thread(target=draw).start()


def square(number: int) -> int:
    return number * number


@succeeds
def uses_processes(model: nn.Module, data: View, run: Run) -> Any:
    """Use workers for its arithmetic, and for its data."""
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(square, range(4)) == [0, 1, 4, 9]
    loader = DataLoader(TensorDataset(torch.arange(8.0)), batch_size=2, num_workers=2)
    assert sum(float(batch.sum()) for (batch,) in loader) == 28


# Output

MEGABYTE = b"All work and no play makes Jack a dull boy.\n" * (2**20 // 44)


def flood(megabytes: int) -> None:
    for _ in range(megabytes // 4):
        os.write(1, MEGABYTE)
        os.write(2, MEGABYTE)
        print(MEGABYTE.decode())
        subprocess.run(["echo", "x" * 2**16], check=True)
        print(MEGABYTE.decode(), file=sys.stderr)


@succeeds
def prints_a_gigabyte(model: nn.Module, data: View, run: Run) -> Any:
    """Say the same again and again, in four ways."""
    flood(1024)


@fails
def prints_and_raises(model: nn.Module, data: View, run: Run) -> Any:
    """Say much, and in the end what matters."""
    flood(16)
    print("the last words \x1b[31m\0\udcff")
    raise ValueError("nothing left to say")


@succeeds
def closes_its_output(model: nn.Module, data: View, run: Run) -> Any:
    """Close what others write to."""
    for stream in (sys.stdin, sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        assert stream is not None
        stream.close()
    for number in (0, 1, 2):
        try:
            os.close(number)
        except OSError:
            continue


# Exceptions


def raises(name: str, what: Callable[[], BaseException]) -> None:
    """Declare a method that raises."""

    def act(model: nn.Module, data: View, run: Run) -> Any:
        raise what()

    act.__name__, act.__doc__ = f"raises_{name}", f"Raise {name}."
    fails(act)


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise SystemExit("no words")


class OfItsOwn(str):
    def encode(self, *args: Any) -> bytes:  # type: ignore[override]
        raise RuntimeError("not to be encoded")


class Evasive(Exception):
    def __str__(self) -> str:
        return OfItsOwn("what it says")


Nameless = type("a\nname " * 1000, (Exception,), {})

raises("exit", lambda: SystemExit(0))
raises("interrupt", lambda: KeyboardInterrupt())
raises("generator_exit", lambda: GeneratorExit())
raises("stop_iteration", lambda: StopIteration(1))
raises("unspeakable", lambda: Unspeakable())
raises("evasive", lambda: Evasive())
raises("nameless", lambda: Nameless("what"))
raises("unpicklable", lambda: ValueError(lambda: 0, threading.Lock()))
raises("long", lambda: ValueError("x" * 10_000_000))
raises("garbage", lambda: ValueError("a\0b\udcff\x1b[2J\r\n" * 10))


@fails
def recurses(model: nn.Module, data: View, run: Run) -> Any:
    """Be its own last resort."""
    sys.setrecursionlimit(3000)
    return recurses(model, data, run)


# Ends of the process


@fails
def exits_at_once(model: nn.Module, data: View, run: Run) -> Any:
    """End the process as if all were well."""
    os._exit(0)


@fails
def crashes(model: nn.Module, data: View, run: Run) -> Any:
    """Read where nothing is."""
    ctypes.string_at(0)


@fails
def aborts(model: nn.Module, data: View, run: Run) -> Any:
    """Fail as an assertion of C does."""
    os.abort()


@succeeds
def asks_itself_to_stop(model: nn.Module, data: View, run: Run) -> Any:
    """Send itself what a Ctrl-C sends."""
    for _ in range(3):
        os.kill(os.getpid(), signal.SIGINT)


@succeeds
def is_told_to_end_once(model: nn.Module, data: View, run: Run) -> Any:
    """Be told to end, as workers are whose node is taken away."""
    if first_time("told"):
        os.kill(os.getpid(), signal.SIGTERM)


# Settings of the process


@succeeds
def changes_everything(model: nn.Module, data: View, run: Run) -> Any:
    """Set all that a process has once."""
    os.chdir("/")
    os.environ |= {"OMP_NUM_THREADS": "8", "HARNESS_ROOT": "/nowhere", "TMPDIR": "/nowhere", "HOME": "/nowhere"}
    del os.environ["PATH"]
    sys.path.clear()
    sys.setrecursionlimit(80)
    torch.set_num_threads(8)
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    torch.set_grad_enabled(False)
    torch.use_deterministic_algorithms(True)
    torch.autograd.set_detect_anomaly(True)
    torch.set_autocast_enabled("cpu", True)
    torch.nn.modules.module.register_module_forward_hook(lambda module, inputs, output: output * 2)
    for seed in (torch.manual_seed, np.random.seed, random.seed):
        seed(5)
    np.seterr(all="raise")
    warnings.simplefilter("error")
    gc.disable()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM, signal.SIGTERM})
    os.umask(0o777)
    room(2**20)


@succeeds
def enters_inference_mode(model: nn.Module, data: View, run: Run) -> Any:
    """Enter what cannot be left from outside."""
    torch.inference_mode().__enter__()


@succeeds
def sets_an_alarm(model: nn.Module, data: View, run: Run) -> Any:
    """Ask to be woken up after its end."""

    def wake(*_: Any) -> None:
        raise RuntimeError("good morning")

    signal.signal(signal.SIGALRM, wake)
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)


# What is returned


@fails
def returns_nothing(model: nn.Module, data: View, run: Run) -> Any:
    """Forget to return its model."""


@fails
def returns_words(model: nn.Module, data: View, run: Run) -> Any:
    """Return what it is called."""
    return "the model"


@fails
def returns_more_classes(model: nn.Module, data: View, run: Run) -> Any:
    """Return a head for one class more."""
    head = model.get_submodule(run.architecture.head)
    assert isinstance(head, nn.Linear)
    owner, _, name = run.architecture.head.rpartition(".")
    setattr(model.get_submodule(owner), name, nn.Linear(head.in_features, head.out_features + 1))
    return model


@fails
def returns_another_network(model: nn.Module, data: View, run: Run) -> Any:
    """Return a network of its own."""
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(data.classes))


@fails
def returns_a_wrapped_model(model: nn.Module, data: View, run: Run) -> Any:
    """Return what calls the model."""
    outer = nn.Module()
    outer.forward = lambda images: model(images)
    return outer


@fails
def returns_doubles(model: nn.Module, data: View, run: Run) -> Any:
    """Return another precision."""
    return model.double()


@fails
def returns_halves(model: nn.Module, data: View, run: Run) -> Any:
    """Return another precision."""
    return model.bfloat16()


@fails
def returns_no_weights(model: nn.Module, data: View, run: Run) -> Any:
    """Return shapes alone."""
    return model.to("meta")


@fails
def returns_a_trap(model: nn.Module, data: View, run: Run) -> Any:
    """Return a model that raises when it is used, in training mode."""

    def spring(*_: Any) -> None:
        raise ZeroDivisionError("sprung")

    model.register_forward_hook(spring)
    return model.train()


def spoil(value: float) -> Act:
    def act(model: nn.Module, data: View, run: Run) -> Any:
        for parameter in model.parameters():
            parameter.data.fill_(value)

    return act


for name, value in (("nan", float("nan")), ("infinity", float("inf"))):
    spoils = spoil(value)
    spoils.__name__, spoils.__doc__ = f"returns_{name}", f"Return weights of {name}."

    def diverge(self: object, model: nn.Module, data: View, run: Run, spoils: Act = spoils) -> nn.Module:
        spoils(model, data, run)
        return model

    declare(spoils, diverge)


# What others count on


@fails
def changes_its_original(model: nn.Module, data: View, run: Run) -> Any:
    """Find the weights that it started from, and train them, too."""
    own = {parameter.data_ptr() for parameter in model.parameters()}
    first = next(model.parameters())
    for found in gc.get_objects():
        with suppress(RuntimeError):  # what a method before it has left may have no memory, or take no changes
            if isinstance(found, torch.Tensor) and found.shape == first.shape and found.data_ptr() not in own:
                found.data.mul_(-1)
    return model


@fails
def changes_the_images(model: nn.Module, data: View, run: Run) -> Any:
    """Preprocess the images once and for all."""
    images = data.retain.data.images  # type: ignore[attr-defined]
    images.copy_(255 - images)
    return model


@fails
def changes_the_labels(model: nn.Module, data: View, run: Run) -> Any:
    """Relabel what is to be forgotten, in the data set itself."""
    data.forget.data.labels.zero_()  # type: ignore[attr-defined]
    return model


@method(reads=READS, source="test")
class ChangesWhatItIsGiven:
    """Work in place on everything that its view hands out."""

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        for part in (data.retain, data.forget, data.retain_and_forget):
            given = [*(tensor for batch in part.batches(7, shuffle=False) for tensor in batch), part.ids, part.labels]
            for tensor in () if polite() else given:
                tensor.zero_()
        return nudged(model)


# Files; each is removed once


@succeeds
def removes_its_module(model: nn.Module, data: View, run: Run) -> Any:
    """Remove its own code."""
    Path(__file__).unlink(missing_ok=True)


@succeeds
def removes_temporary_files(model: nn.Module, data: View, run: Run) -> Any:
    """Tidy up the folder for temporary files."""
    shutil.rmtree(tempfile.gettempdir(), ignore_errors=True)


def removes(what: str) -> None:
    """Declare a method that removes a folder of the root, or all of it."""

    def act(model: nn.Module, data: View, run: Run) -> Any:
        if first_time(act.__name__):
            shutil.rmtree(Path(os.environ["WILD_ROOT"]) / what)

    act.__name__, act.__doc__ = f"removes_{what or 'everything'}", f"Remove {what or 'all'} of the root."
    succeeds(act)


for what in ("commits", "models", "tables", "studies", ""):
    removes(what)
