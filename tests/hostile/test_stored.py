"""Stored files of a root that comes from a stranger: a table or one line, and nothing outside the root is touched."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import strategies as st
from tiny_hostile import BAD_NAMES, ESCAPE, Guarded, asked, fuzz, judge, kept_to, lanes, listing, one_line, outcome
from tiny_mutants import Long, damaged, edits, mutated, values
from tiny_stranger import LEASE, looked_at, rows_of

from harness.planner import Plan
from harness.store import SCHEMAS, ModelCorrupt, Store, StoreCorrupt, commits, documents, parts, seal
from harness.store.files import Files
from harness.store.sound import MOST_ELEMENTS, MOST_ROWS


def sealed(data: bytes) -> bytes:
    """Seal some bytes as the store would: the digest is no secret."""
    mark = data.rfind(b"harness-sha256:") + len(b"harness-sha256:")
    if mark < len(b"harness-sha256:"):
        return data
    return seal.seal(data[:mark] + b"0" * 64 + data[mark + 64 :])


KINDS = {
    "units": "tables/units/*.parquet",
    "metrics": "tables/metrics/**/*.parquet",
    "signals": "tables/signals/**/*.parquet",
    "commit": "commits/*.arrow",
    "failure": "commits/*.failed.arrow",
    "plan": "studies/*.json",
    "lease": "studies/*.lease",
    "model": "models/*.safetensors",
}


@pytest.mark.parametrize("kind", KINDS)
@lanes(short=8, full=1200)
def test_any_bytes_are_read_or_named(kind: str, examples: int, root: Path, plan: Plan, outside: Guarded) -> None:
    path = min(root.glob(KINDS[kind]))
    good, moment = path.read_bytes(), iter(range(10**9))
    assert not [answer for answer in looked_at(root, plan) if isinstance(answer, str)]

    def check(changes: list[tuple[str, int, int]], is_sealed: bool) -> None:
        data = damaged(good, changes)
        path.write_bytes(sealed(data) if is_sealed else data)
        os.utime(path, ns=(next(moment),) * 2)
        with kept_to():
            looked_at(root, plan)
        assert not outside.touched()

    fuzz(check, edits(len(good)), st.sampled_from([True, True, False]), examples=examples)


COLUMN_TYPES = [pa.int8(), pa.int64(), pa.float32(), pa.string(), pa.large_string(), pa.binary(), pa.bool_(), pa.null()]
COLUMN_TYPES += [
    pa.timestamp("us", "UTC"),
    pa.date32(),
    pa.decimal128(5, 1),
    pa.list_(pa.float32()),
    pa.list_(pa.bool_()),
]
COLUMN_TYPES += [pa.struct([("a", pa.int8())]), pa.dictionary(pa.int8(), pa.string()), pa.list_(pa.list_(pa.float32()))]
TEXTS = [*BAD_NAMES, "done", "unlearn", "digits"]


@st.composite
def crafted(draw: st.DrawFn, table: str) -> pa.Table:
    """Rows of a table in which some columns are of another type, absent, hostile, null or strangers."""
    count, columns = draw(st.integers(0, 3)), {}
    for field in SCHEMAS[table]:
        what = draw(st.sampled_from(["right"] * 20 + ["type", "gone", "null"]))
        kind = draw(st.sampled_from(COLUMN_TYPES)) if what == "type" else field.type
        value = None if what == "null" or not pa.types.is_string(kind) else draw(st.sampled_from(TEXTS))
        value = {pa.int64(): 1, pa.int32(): 1}.get(kind, value) if what != "null" else None
        if what != "gone":
            columns[field.name] = pa.array([value] * count, kind)
    if draw(st.integers(0, 9)) == 0:
        columns[draw(st.sampled_from(BAD_NAMES))] = pa.array([None] * count, pa.int8())
    return pa.table(columns)


@lanes(short=25, full=2500)
def test_any_sealed_part_is_read_or_named(examples: int, root: Path, plan: Plan, outside: Guarded) -> None:
    moment = iter(range(10**9))

    def check(table: str, rows: pa.Table, note: str) -> None:
        path = root / "tables" / table / "part-crafted.parquet"
        path.parent.mkdir(exist_ok=True)
        sink = pa.BufferOutputStream()
        with pq.ParquetWriter(sink, rows.schema) as writer:
            writer.write_table(rows)
            writer.add_key_value_metadata({parts.BESIDE: note, **seal.METADATA} if note else seal.METADATA)
        path.write_bytes(seal.seal(sink.getvalue().to_pybytes()))
        os.utime(path, ns=(next(moment),) * 2)
        with kept_to():
            looked_at(root, plan)
        path.unlink()
        assert not outside.touched()

    named = st.sampled_from(["units", "metrics", "failures", "signals"])
    both = named.flatmap(lambda table: st.tuples(st.just(table), crafted(table)))
    notes = st.sampled_from(
        ["", "", "{}", "[]", '{"../../outside/secret": [0]}', '{"/etc/passwd": []}', '{"a": [-1]}', "["]
    )
    fuzz(lambda drawn, note: check(*drawn, note), both, notes, examples=examples)


@lanes(short=25, full=2500)
def test_any_sealed_commit_is_folded_or_named_and_nothing_leaves_the_root(
    examples: int, root: Path, plan: Plan, outside: Guarded, tmp_path: Path
) -> None:
    before = {name for name in listing(tmp_path) if not name.startswith("runs/tables")}
    assert outside.touched(), "by this test"
    layout = pa.schema([("table", pa.string()), ("data", pa.binary())])

    def check(names: list[str | None], rows: list[pa.Table | bytes | None], kinds: pa.Schema) -> None:
        streams = [commits._stream(one) if isinstance(one, pa.Table) else one for one in rows[: len(names)]]
        columns = [pa.array(names[: len(streams)], kinds.types[0]), pa.array(streams, kinds.types[1])]
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, kinds, metadata=seal.METADATA) as writer:
            writer.write_batch(pa.record_batch(columns, schema=kinds))
        path = root / "commits" / "crafted.arrow"
        path.write_bytes(seal.seal(sink.getvalue().to_pybytes()))
        with kept_to(root):
            looked_at(root, plan)
            outcome(lambda: Store.open(str(root), write=True).fold(["crafted"]))
            looked_at(root, plan)
        path.unlink(missing_ok=True)
        assert not outside.touched()
        assert {name for name in listing(tmp_path) if not name.startswith("runs/tables")} == before
        assert outside.touched(), "by this test"
        for part in root.glob("tables/**/*.parquet"):
            assert part.resolve().is_relative_to(root)
            if part.stat().st_mtime_ns not in folded:
                part.unlink()

    folded = {part.stat().st_mtime_ns for part in root.glob("tables/**/*.parquet")}
    named = ["units", "metrics", "failures", "signals"]
    tables_ = st.lists(st.sampled_from([*named, *named, "attacks", "no_such", "../../outside/x", "", None]), max_size=3)
    some = st.sampled_from(named).flatmap(crafted) | st.sampled_from([b"", b"torn", None]) | st.just(pa.table({}))
    other = pa.schema([("table", pa.binary()), ("data", pa.binary())])
    kinds = st.sampled_from([layout, layout, layout, other])
    fuzz(check, tables_, st.lists(some, min_size=3, max_size=3), kinds, examples=examples)


@lanes(short=30, full=3000)
def test_any_sealed_plan_is_read_or_named(examples: int, root: Path, plan: Plan, outside: Guarded) -> None:
    files, path = Files.open(str(root), write=True), f"studies/{plan.id}.json"
    good = plan.to_json()
    small = good | {"units": [*good["units"][:3], *[{"id": unit} for unit in plan.units][3:4]]}

    def check(document: Any) -> None:
        if isinstance(document, dict) and not holds_long(document):
            documents.write(files, path, json.loads(json.dumps(document, default=str)))
        else:
            files.write(path, json.dumps(str(document)).encode())
        with kept_to():
            looked_at(root, plan)
            judge(asked("status", "--root", root))
        assert not outside.touched()

    fuzz(check, mutated(good) | mutated(small), examples=examples)


def holds_long(node: Any) -> bool:
    """Say whether a tree holds what JSON cannot: a key that is no text, or a number of thousands of digits."""
    if isinstance(node, dict):
        return any(not isinstance(name, str) or holds_long(value) for name, value in node.items())
    return any(map(holds_long, node)) if isinstance(node, list) else isinstance(node, Long)


@lanes(short=30, full=3000)
def test_any_sealed_lease_is_read_or_named(examples: int, root: Path, plan: Plan) -> None:
    files, store = Files.open(str(root), write=True), Store.open(str(root))
    times = [
        "2026-01-02",
        "2026-01-02T03:04:05",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "nan",
        ESCAPE,
    ]
    pids = [0, -1, 2**31, 2**70, "9" * 5000, "x", None, 1.5, os.getpid()]
    drawn = st.fixed_dictionaries(
        {},
        optional={
            "started": st.sampled_from(times) | st.text(max_size=5),
            "heartbeat": st.sampled_from(times) | st.datetimes().map(str),
            "pid": st.sampled_from(pids),
            "host": st.sampled_from([ESCAPE, "x" * 100_000, os.uname().nodename]),
        },
    )

    def check(changes: dict[str, Any], gone: str) -> None:
        content = {name: value for name, value in {**LEASE, **changes}.items() if name != gone}
        documents.write(files, f"studies/{plan.id}.lease", content)
        outcome(lambda: store.lease_holder(plan.id))
        judge(asked("status", "--root", root))

    fuzz(check, drawn, st.sampled_from(["", "", *LEASE]), examples=examples)


def nested(levels: int) -> bytes:
    """Return a Parquet file without rows, whose one column is a group in a group in a group: Thrift by hand."""
    count = b""
    number = levels + 2
    while number:
        number, low = number >> 7, number & 127
        count += bytes([low | (128 if number else 0)])
    group, leaf = b"\x35\x02\x18\x01a\x15\x02\x00", b"\x15\x02\x25\x02\x18\x01a\x00"
    schema = b"\x19\xfc" + count + b"\x48\x06schema\x15\x02\x00" + group * levels + leaf
    footer = b"\x15\x02" + schema + b"\x16\x00\x19\x0c\x00"
    return b"PAR1" + footer + struct.pack("<I", len(footer)) + b"PAR1"


def billions() -> bytes:
    """Return a part that tells more rows in a few kilobytes than a machine has memory for."""
    sink = pa.BufferOutputStream()
    columns = {field.name: pa.nulls(MOST_ROWS + 1, field.type) for field in SCHEMAS["failures"]}
    pq.write_table(pa.table(columns), sink, compression="zstd")
    return bytes(sink.getvalue().to_pybytes())


BOMBS: dict[str, Callable[[], bytes]] = {
    "1,000 levels": lambda: nested(MOST_ELEMENTS - 100),
    "200,000 levels": lambda: nested(200_000),
    "more rows than any": billions,
    "a footer that is everything": lambda: b"PAR1" + struct.pack("<I", 2**32 - 1) + b"PAR1",
    "nothing": lambda: b"",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_part_that_would_end_the_process_is_named(name: str, root: Path) -> None:
    (root / "tables" / "failures").mkdir(exist_ok=True)
    (root / "tables" / "failures" / "part-bomb.parquet").write_bytes(BOMBS[name]())
    with pytest.raises(StoreCorrupt, match=r"part-bomb.parquet is damaged: ") as caught:
        Store.open(str(root)).scan("failures")
    one_line(caught.value)


def header(tensors: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = tensors if isinstance(tensors, bytes) else json.dumps(tensors).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(dtype: str = "F32", shape: Any = (1,), offsets: Any = (0, 4)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


MODELS: dict[str, bytes] = {
    "a header of 2^63 bytes": header({}, length=2**63),
    "a header of 2^64 - 1 bytes": header({}, length=2**64 - 1),
    "a header beyond the end": header({}, length=10**6),
    "no header": b"\0" * 8,
    "no digest": header({"a": tensor()}, bytes(4)),
    "a digest that is a number": header({"__metadata__": {"sha256": 5}, "a": tensor()}, bytes(4)),
    "another digest": header({"__metadata__": {"sha256": "0" * 64}, "a": tensor()}, bytes(4)),
    "tensors one over the other": header({"a": tensor(), "b": tensor()}, bytes(4)),
    "an offset beyond the end": header({"a": tensor(offsets=(0, 2**62))}, bytes(4)),
    "an offset below the beginning": header({"a": tensor(offsets=(-4, 0))}, bytes(4)),
    "a shape without an end": header({"a": tensor(shape=(2**62, 2**62))}, bytes(4)),
    "a shape of nothing": header({"__metadata__": {"sha256": "x"}, "a": tensor(shape=(0, 2**62), offsets=(0, 0))}),
    "an unknown type": header({"a": tensor("F4", (1,), (0, 4))}, bytes(4)),
    "a type of torch alone": header({"__metadata__": {"sha256": "x"}, "a": tensor("F8_E4M3", (4,))}, bytes(4)),
    "a half type": header({"__metadata__": {"sha256": "x"}, "a": tensor("F4", (8,))}, bytes(4)),
    "a complex type": header({"__metadata__": {"sha256": "x"}, "a": tensor("C64", (1,), (0, 8))}, bytes(8)),
    "100,000 brackets": header(b'{"__metadata__": ' + b"[" * 100_000 + b"}"),
    "a list": header(b"[1, 2]"),
    "no JSON": header(b"{" + b"x" * 100),
    "no text": header(b"\xff\xfe\x00"),
    "a key twice": header(b'{"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}, "a": {}}', b"\0"),
    "a name that is a path": header({"__metadata__": {"sha256": "x"}, "../../outside/x": tensor()}, bytes(4)),
    "a number of 5,000 digits": header(
        b'{"a": {"dtype": "U8", "shape": [' + b"9" * 5000 + b'], "data_offsets": [0, 1]}}'
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_weights_that_are_none_are_named(name: str, root: Path) -> None:
    store = Store.open(str(root), write=True)
    (root / "models" / "bad.safetensors").write_bytes(MODELS[name])
    with pytest.raises(ModelCorrupt, match=r"bad.safetensors is damaged: ") as caught:
        store.load_model("bad")
    one_line(caught.value)
    assert len(store.repair_models(["bad"])) == 1
    assert not store.has_model("bad")


LINKS = [
    *("commits", "tables", "models", "studies", "logs", "reports", "damaged", "tables/units", "reports/plain"),
    *("commits/link.arrow", "tables/units/part-link.parquet", "models/UNIT.safetensors", "studies/PLAN.json"),
    *("studies/PLAN.lease", "reports/plain/index.html", "logs/ray.log", "studies/link.json"),
]


@pytest.mark.parametrize("link", LINKS)
def test_a_link_out_of_the_root_is_not_followed(link: str, root: Path, plan: Plan, outside: Guarded) -> None:
    first = next(iter(plan.units.values()))
    path, beyond = root / link.replace("UNIT", first.id).replace("PLAN", plan.id), root.parent / "outside"
    if path.is_dir():
        path.rename(root.parent / "moved")
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    if link == "damaged":
        (root / "commits" / "torn.arrow").write_bytes(b"torn")
    path.symlink_to(beyond / "secret" if path.suffix else beyond)
    before = listing(beyond)
    assert outside.touched(), "by this test"

    def written() -> list[Any]:
        store = Store.open(str(root), write=True)
        return [
            outcome(lambda: store.commit(first.id, rows_of(first))),
            outcome(store.fold),
            outcome(lambda: store.save_model(first.id, {"a": torch.zeros(1)})),
            outcome(lambda: store.drop_model(first.id)),
            outcome(lambda: store.write_plan(plan.id, plan.to_json())),
            outcome(lambda: store.write_report("plain", b"page")),
            outcome(lambda: store.lease(plan.id).__enter__().release()),
            outcome(store.repair),
            outcome(lambda: store.log_path("ray")),
        ]

    with kept_to(root):
        answers = [*looked_at(root, plan), outcome(written)]
        for command in (["status"], ["show", first.id], ["plan", "digits"]):
            judge(asked(*command, "--root", root))
    told = [text for answer in answers for text in (answer if isinstance(answer, list) else [answer])]
    assert not outside.touched()
    if link != "studies/link.json":  # a plan of no study's name, which nobody asks for
        assert any(isinstance(text, str) and "is a link to what is not in the root" in text for text in told)
    assert listing(beyond) == before
    assert "a secret of somebody else's" not in str(told)


def test_a_link_within_the_root_and_a_root_that_is_a_link_are_followed(root: Path, plan: Plan) -> None:
    (root / "models").rename(root / "tables" / "models")
    (root / "models").symlink_to(root / "tables" / "models")
    alias = root.parent / "alias"
    alias.symlink_to(root)
    for place in (root, alias):
        assert set(Store.open(str(place)).load_model(next(iter(plan.units)))) == {"a", "b"}


@pytest.mark.parametrize("name", BAD_NAMES)
def test_no_name_leaves_the_root(name: str, root: Path, plan: Plan, outside: Guarded) -> None:
    store, first = Store.open(str(root), write=True), next(iter(plan.units.values()))
    before = {path for path in listing(root.parent) if not path.startswith("runs/")}
    assert outside.touched(), "by this test"
    uses: list[Callable[[], Any]] = [
        lambda: store.commit(name, rows_of(first, unit=name)),
        lambda: store.commit_failure(name, 1, {"failures": [{**first.columns(), "unit": name, "attempt": 1}]}),
        lambda: store.save_model(name, {"a": torch.zeros(1)}),
        lambda: store.load_model(name),
        lambda: store.has_model(name),
        lambda: store.drop_model(name),
        lambda: store.write_plan(name, {}),
        lambda: store.read_plan(name),
        lambda: store.lease_holder(name),
        lambda: store.lease(name).__enter__().release(),
        lambda: store.studies(name),
        lambda: store.scan(name),
        lambda: store.write_report(name, b"page"),
        lambda: store.read_report(name),
        lambda: store.replace("pools", pl.DataFrame(), {"dataset": name, "farm": name, "pool": name}),
        lambda: store.commit("a", rows_of(first, unit="a", dataset=name, architecture=name, method=name)),
        lambda: store.fold(["a"]),
    ]
    with kept_to(root):
        for use in uses:
            outcome(use)
    assert not outside.touched()
    assert {path for path in listing(root.parent) if not path.startswith("runs/")} == before


@pytest.mark.parametrize(
    "path", ["commits/a.arrow", "models/UNIT.safetensors", "studies/PLAN.lease", "studies/PLAN.json"]
)
def test_a_pipe_is_no_file_and_nobody_waits_for_it(path: str, root: Path, plan: Plan) -> None:
    place = root / path.replace("UNIT", next(iter(plan.units))).replace("PLAN", plan.id)
    place.unlink(missing_ok=True)
    os.mkfifo(place)
    looked_at(root, plan)


@pytest.mark.parametrize("text", [ESCAPE, "x" * 1_000_000])
def test_what_a_root_says_is_shown_without_being_obeyed(text: str, root: Path, plan: Plan) -> None:
    store, failed = Store.open(str(root), write=True), list(plan.units.values())[3]
    told = {"phase": text, "exception": text, "message": text, "traceback": text}
    same = {**failed.columns(), "attempt": 2, "config": text}
    store.commit_failure(failed.id, 2, {"failures": [same | told], "units": [same | {"status": "failed"}]})
    unit = list(plan.units.values())[4]
    rows = rows_of(unit, config=text, scenario=text)
    for column in ("hyperparameters", "versions", "device", "host"):
        rows["units"][0][column] = text
    store.commit(unit.id, rows)
    store.write_plan(plan.id, plan.to_json() | {"question": text})
    documents.write(Files.open(str(root), write=True), f"studies/{plan.id}.lease", LEASE | {"host": text})
    for command in (["show", unit.id], ["show", failed.id], ["status"], ["show", unit.id, "--json"]):
        assert not judge(asked(*command, "--root", root)), command


def test_values_of_every_kind_are_drawn() -> None:
    """The strategies above are worth something: what they draw is not always the same."""
    kinds: set[type] = set()

    def take(value: object) -> None:
        kinds.add(type(value))
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            take(inner)

    fuzz(take, values, examples=300)
    assert {int, float, str, bool, type(None), bytes, list, dict, Long} <= kinds
