from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventwire.message import Message
from eventwire.outbox.rows import read_headers, read_row, read_spec, slot_of, write_headers, write_spec
from eventwire.outbox.tables import SLOTS
from eventwire.partition import murmur2
from eventwire.transport import TopicSpec

SPECS = st.builds(
    TopicSpec,
    name=st.text(min_size=1),
    partitions=st.integers(1, 1000),
    ordered=st.booleans(),
    retention=st.none() | st.floats(0, 1e9),
    compact=st.booleans(),
    external=st.booleans(),
)
HEADERS = st.lists(st.tuples(st.text(), st.binary())).map(tuple)


@given(SPECS)
def test_a_topic_comes_back_as_it_was(spec: TopicSpec) -> None:
    assert read_spec(spec.name, write_spec(spec)) == spec


def test_a_fact_that_only_a_newer_version_knows_is_left_out() -> None:
    assert read_spec("t", '{"partitions": 3, "colour": "red"}') == TopicSpec("t", partitions=3)


@given(HEADERS)
def test_headers_come_back_byte_for_byte(headers: tuple[tuple[str, bytes], ...]) -> None:
    written = write_headers(headers)
    assert read_headers(written) == headers
    assert written.isascii()


@given(st.text(min_size=1), st.none() | st.binary(), st.uuids().map(str))
def test_a_slot_is_the_keys_or_without_one_the_ids(topic: str, key: bytes | None, id: str) -> None:
    slot = slot_of(topic, key, id)
    assert 0 <= slot < SLOTS
    if key is not None:
        assert slot == slot_of(topic, key, "another")


def test_slots_never_move() -> None:
    """Rows hold their slot: another function would put the events of one key into two."""
    assert slot_of("shop.orders.v1", b"42", "") == (murmur2(b"shop.orders.v1\x0042") & 0x7FFFFFFF) % 64
    assert [slot_of("shop.orders.v1", b"%d" % key, "") for key in range(6)] == [39, 59, 6, 61, 17, 25]


@pytest.mark.parametrize("in_order", [True, False])
@pytest.mark.parametrize("body", [b"b\x00", None])
def test_a_row_is_the_message_again(in_order: bool, body: bytes | None) -> None:
    found = SimpleNamespace(
        seq=7,
        slot=3,
        topic="t",
        broker="other",
        spec='{"ordered": true}',
        in_order=in_order,
        event_id="id",
        key=memoryview(b"k"),
        body=None if body is None else memoryview(body),
        headers='[["h", "\\u00ff"]]',
        content_type="application/protobuf",
        attempts=2,
    )
    row = read_row(found)
    assert row.message == Message("t", body, b"k", (("h", b"\xff"),), "application/protobuf", "id")
    assert row.line == (("other", "t", b"k") if in_order else 7)
    assert (row.seq, row.slot, row.broker, row.attempts) == (7, 3, "other", 2)
