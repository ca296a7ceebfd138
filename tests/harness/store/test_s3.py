"""Roots in an object store: how they are named, what is asked of them, and what a bad network may do to them."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import tiny_s3
from tiny_s3 import Asked, Network

from harness.store import LeaseHeld, RootInvalid, RootNotWritable, Rows, Store
from harness.store import bucket as bucket_module
from harness.store import claim as claim_module
from harness.store.bucket import Patience, in_one_go
from harness.store.files import Files

SECRET = "canary/Secret+key="


@pytest.fixture
def network(s3_port: int) -> Iterator[Network]:
    with tiny_s3.network(s3_port) as between:
        yield between


@pytest.fixture
def files(network: Network) -> Files:
    return Files.open(tiny_s3.root(network.port, uuid.uuid4().hex), write=True)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence and refusals are given up soon."""
    monkeypatch.setattr(bucket_module, "PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(bucket_module, "GIVEN_UP_SECONDS", 0.0)
    monkeypatch.setattr(bucket_module, "SILENT_SECONDS", 1.0)


def test_an_object_is_what_was_written_last(files: Files) -> None:
    for data in (b"", b"one", os.urandom(12_000_000), b"two"):  # the third in several parts
        files.write("commits/a", data)
        assert files.read("commits/a") == data
        assert [(file.path, file.size) for file in files.find("commits", "")] == [("commits/a", len(data))]
    files.delete("commits/a")
    files.delete("commits/a")
    assert not files.exists("commits/a")
    with pytest.raises(FileNotFoundError):
        files.read("commits/a")


def test_the_environment_names_store_and_keys(s3_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{s3_port}")
    files = Files.open(f"s3://{tiny_s3.BUCKET}/{uuid.uuid4().hex}", write=True)
    files.write("a", b"content")
    assert files.read("a") == b"content"


def test_keys_in_the_uri_work_and_are_never_shown(s3_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in tiny_s3.KEYS:
        monkeypatch.delenv(name)
    host, options = tiny_s3.root(s3_port, "keys").removeprefix("s3://").split("?")
    keys = f"AKIACANARY:{SECRET.replace('/', '%2F').replace('+', '%2B')}"
    store = Store.open(f"s3://{keys}@{host}?{options}", write=True)
    store.write_plan("p", {"study": "s", "id": "p"})
    assert store._files.filesystem.__reduce__()[1][0]["secret_key"] == SECRET
    shown = [str(store), repr(store), repr(store._files), store.address, store.report_path("s")]
    with pytest.raises(Exception, match="no study") as refusal:
        store.studies("t")
    assert store.address == f"s3://{host}"
    assert not [text for text in (*shown, str(refusal.value)) if "CANARY" in text or "canary" in text]


@pytest.mark.parametrize(
    ("uri", "right"),
    [
        (f"s3://AKIACANARY:{SECRET}@bucket/runs", "written %2F"),
        (f"s3://AKIACANARY:{SECRET}", "written %2F"),
        ("s3://AKIACANARY:canary@", "give one, and a folder in it"),
        ("s3://bucket/runs?secret_key=canary", "no option 'secret_key'.*read from the environment"),
        ("s3://bucket/runs?regoin=canary", "did you mean 'region'"),
        ("http://user:canary@host/runs", "give a folder or a URI of file://, s3://, gs://"),
        ("gs://bucket/runs?canary=canary", "cannot be opened"),
        ("file://user:canary@/runs", "cannot be opened"),
    ],
)
def test_a_wrong_uri_is_one_line_without_what_may_be_a_password(uri: str, right: str) -> None:
    with pytest.raises(RootInvalid, match=right) as refusal:
        Store.open(uri)
    assert "\n" not in str(refusal.value)
    assert "canary/" not in str(refusal.value).replace("canary=", "").replace("'canary'", "")
    assert "AKIACANARY" not in str(refusal.value)


def test_a_bucket_that_is_not_there_cannot_be_written(s3_port: int) -> None:
    uri = tiny_s3.root(s3_port, "runs", bucket="nobodys")
    assert Store.open(uri).plans() == []
    with pytest.raises(RootNotWritable, match=r"s3://nobodys/runs cannot be written: .*no such bucket; make it"):
        Store.open(uri, write=True)


def test_a_store_opened_in_another_process_is_as_patient(files: Files, network: Network) -> None:
    elsewhere = pickle.loads(pickle.dumps(files))
    assert (elsewhere.uri, elsewhere.base, elsewhere.writable) == (files.uri, files.base, True)
    network.share = 0.3
    for number in range(20):
        elsewhere.write(f"commits/{number}", b"x")
    assert len(elsewhere.find("commits", "")) == 20


@pytest.mark.parametrize("fault", tiny_s3.FAULTS)
def test_whatever_the_network_does_to_a_request_it_is_repeated(fault: str, s3_port: int) -> None:
    """What was written is read, whole; what was removed is gone, once and for all."""
    with tiny_s3.network(s3_port, 0.3, (fault,), seed=1) as between:
        files = Files.open(tiny_s3.root(between.port, uuid.uuid4().hex), write=True)
        for number in range(12):
            data = bytes([number]) * (1000 + number)
            files.write(f"commits/{number:02}", data)
            assert files.read(f"commits/{number:02}") == data
            if number % 2:
                files.delete(f"commits/{number:02}")
        assert [file.name for file in files.find("commits", "")] == [f"{number:02}" for number in range(0, 12, 2)]
        assert between.injected > 10


def test_many_at_once_get_through_a_bad_network(files: Files, network: Network) -> None:
    network.share = 0.3
    names = [f"commits/{number}" for number in range(100)]
    files.map(lambda name: files.write(name, name.encode()), names)
    assert files.map(files.read, names) == [name.encode() for name in names]
    assert network.injected > 50


@pytest.mark.usefixtures("hasty")
def test_a_store_that_is_away_is_given_up_and_used_again_when_it_is_back(network: Network) -> None:
    files = Files.open(tiny_s3.root(network.port, uuid.uuid4().hex), write=True)
    files.write("a", b"content")
    network.stop()
    for attempt in (lambda: files.read("a"), lambda: files.find("commits", ""), lambda: files.exists("a")):
        with pytest.raises(RootInvalid, match="Could not connect to server; is the store up, and can this machine"):
            attempt()
    for change in (lambda: files.write("a", b"other"), lambda: files.delete("a")):
        with pytest.raises(RootNotWritable, match="is the store up"):
            change()
    network.start()
    assert files.read("a") == b"content"
    network.silent.set()
    files = Files.open(files.uri, write=True)
    with pytest.raises(RootInvalid, match=r"too slow.*is the store up"):
        files.read("a")
    network.silent.clear()
    assert files.read("a") == b"content"


@pytest.mark.parametrize("later", [b"", b"short", b"of equal length.", b"of another length, which is more"])
def test_an_object_that_is_replaced_while_it_is_read_is_read_whole(
    later: bytes, files: Files, network: Network, s3_port: int
) -> None:
    """Arrow asks for the size first: of one that has shrunk meanwhile it would return what lay in memory."""
    direct = Files.open(files.uri.replace(str(network.port), str(s3_port)), write=True)
    contents = [later]

    def replace(asked: Asked) -> None:
        if asked.method == "GET" and contents:
            direct.write("view", contents.pop())

    files.write("view", b"what it was once")
    network.before = replace
    assert files.read("view") == later


def test_patience_ends_and_what_nothing_cures_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    clock = [0.0]

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock[0] += seconds

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    asked = [0]

    def fail(text: str) -> Callable[[], None]:
        def question() -> None:
            asked[0] += 1
            raise OSError(text)

        return question

    def count(patience: Patience, text: str) -> int:
        asked[0] = 0
        with pytest.raises(OSError, match=r"."):
            patience.ask(fail(text))
        return asked[0]

    patience = Patience()
    for text in ("AWS Error ACCESS_DENIED during GetObject", "AWS Error UNKNOWN (HTTP status 403) during HeadObject"):
        assert count(patience, text) == 1
    assert not slept
    assert count(patience, "AWS Error SLOW_DOWN during PutObject operation: wait") > 5
    assert sum(slept) <= bucket_module.PATIENCE_SECONDS
    assert slept == sorted(slept), "pauses grow, and no chance is in them"
    assert count(patience, "AWS Error SLOW_DOWN during PutObject operation: wait") == 0, "it was given up"
    with pytest.raises(OSError, match="SLOW_DOWN"):
        patience.ask(lambda: "answer")
    clock[0] += bucket_module.GIVEN_UP_SECONDS
    assert count(patience, "AWS Error SLOW_DOWN during PutObject operation: wait") > 5
    clock[0] += bucket_module.GIVEN_UP_SECONDS
    assert patience.ask(lambda: "answer") == "answer"


@pytest.mark.slow
def test_a_question_to_a_dead_store_ends_in_half_a_minute() -> None:
    """A port where nobody listens, and one where nobody ever answers."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        for port in (1, deaf.getsockname()[1]):
            begun = time.monotonic()
            with pytest.raises(RootInvalid, match="is the store up"):
                Store.open(tiny_s3.root(port, "runs")).committed()
            assert time.monotonic() - begun < 30


def test_an_interrupted_write_leaves_nothing_half_written() -> None:
    """Arrow stores what it has when its stream is left by an exception: the write goes on where no signal comes."""
    done: list[str] = []

    def write() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        done.append("half")
        time.sleep(0.2)
        done.append("whole")

    with pytest.raises(KeyboardInterrupt):
        in_one_go(write)
    deadline = time.monotonic() + 60
    while done != ["half", "whole"]:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_a_write_raises_is_raised() -> None:
    with pytest.raises(OSError, match="full"):
        in_one_go(lambda: (_ for _ in ()).throw(OSError("full")))


@pytest.mark.parametrize("share", [0.0, 0.2])
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_of_many_that_start_at_once_one_gets_the_lease(seed: int, share: float, s3_port: int) -> None:
    """There are no locks, and no conditional writes: claims and listings have to do."""
    many = 8
    with tiny_s3.network(s3_port, share, seed=seed) as between, ExitStack() as held:
        uri = tiny_s3.root(between.port, uuid.uuid4().hex)
        stores = [Store.open(uri, write=True) for _ in range(many)]
        barrier, got, refused = threading.Barrier(many), [], []

        def start(store: Store) -> None:
            barrier.wait()
            try:
                got.append(held.enter_context(store.lease("plan")))
            except LeaseHeld as error:
                refused.append(str(error))

        threads = [threading.Thread(target=start, args=(store,)) for store in stores]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(got), len(refused)) == (1, many - 1)
        assert stores[0].lease_holder("plan") == got[0].info
        assert not stores[0]._files.find("studies", claim_module.SUFFIX), "no claim is left"


def test_two_are_never_alone_at_once(files: Files) -> None:
    """Whatever order they come in: inside, nobody else is."""
    inside, most, entered = [0], [0], [0]

    def enter() -> None:
        for _ in range(4):
            with claim_module.alone(files, "studies/p.claims"):
                inside[0] += 1
                entered[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0.005)
                inside[0] -= 1

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most[0], entered[0]) == (1, 16)


def test_the_claim_of_a_dead_driver_goes_after_a_while(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim_module, "DEAD_SECONDS", 0.5)
    for name in ("0" * 32, "f" * 32):
        files.write(f"studies/p.claims/{name}{claim_module.SUFFIX}", b"claimed")
        begun = time.monotonic()
        with claim_module.alone(files, "studies/p.claims"):
            assert time.monotonic() - begun > 0.5
        assert not files.find("studies/p.claims", "")


def test_a_unit_is_one_put_and_its_fold_a_few_requests_more(
    s3_port: int, make_rows: Callable[..., Rows], network: Network
) -> None:
    """However many units there are: no listing for each."""
    store = Store.open(tiny_s3.root(network.port, uuid.uuid4().hex), write=True)

    def asked(action: Callable[[], object]) -> list[str]:
        before = len(network.asked)
        action()
        return [one.method for one in network.asked[before:]]

    for many in (10, 40):
        units = [f"u{many}-{number}" for number in range(many)]
        commits = asked(lambda units=units: [store.commit(unit, make_rows(unit)) for unit in units])
        assert commits == ["PUT"] * many
        status = asked(store.committed)
        assert len(status) <= 8
        fold = asked(store.fold)
        assert len(fold) <= 6 * many + 8, "reading and removing each commit, and a part for each table"
        assert fold.count("LIST") == 1
        assert len(asked(store.committed)) <= 8
        assert len(asked(store.committed)) <= 8, "what was fetched is not fetched again"


def test_a_page_is_stored_where_the_results_are(store: Store, tmp_path: Path) -> None:
    assert store.read_report("digits") is None
    for text in (b"<html>one", b"<html>two"):
        assert store.write_report("digits", text) == store.report_path("digits")
        assert store.read_report("digits") == text
    assert not list(tmp_path.glob("s3:*"))
