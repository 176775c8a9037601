"""Recording, where no database is needed: the session is one that was never bound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Column, Integer, MetaData, Table
from sqlalchemy.orm import Session

from eventwire import (
    Bus,
    CapabilityError,
    ConfigurationError,
    Context,
    InvalidEvent,
    TooLarge,
    WireFormat,
)
from eventwire.outbox import Outbox, Tables
from eventwire.outbox.rows import read_headers
from eventwire.outbox.tables import Recorded
from eventwire.transport import Delivery, TopicSpec
from eventwire.wire.reader import Reader
from tests.unit.fakes import FakeDelivery, NoSleep
from tests.unit.shop import ORDERS, PRICES, Cancelled, Placed, Price

OUTBOX = Outbox(Bus("memory://"), ORDERS)


def recorded(session: Session) -> Sequence[Recorded]:
    return [row for row in session.new if isinstance(row, Recorded)]


def test_what_a_row_says() -> None:
    session, bus = Session(), Bus("memory://")
    id = Outbox(bus, ORDERS).add(session, Placed("7", tenant="acme"), headers={"h": "v"}, id="mine")
    (row,) = recorded(session)
    assert id == "mine"
    assert (row.topic, row.broker, row.key, row.event_id) == ("shop.v1", "default", b"7", "mine")
    assert (row.in_order, row.deliver_at) == (True, None)
    assert dict(read_headers(row.headers))["h"] == b"v"
    assert dict(read_headers(row.headers))["ce_tenant"] == b"acme"
    assert (row.spec, row.body) == (
        '{"partitions": 4, "ordered": true}',
        bus.writer(ORDERS).write(Placed("7", tenant="acme"), None, None, None).body,
    )


def test_an_id_is_made_where_none_is_given() -> None:
    session, outbox = Session(), Outbox(Bus("memory://"), ORDERS)
    ids = [outbox.add(session, Placed("7")) for _ in range(3)]
    assert len(set(ids)) == 3
    assert all(id[14] == "7" for id in ids)


@pytest.mark.parametrize(
    ("event", "error", "text"),
    [
        (Price("tea"), InvalidEvent, "records Cancelled, Placed; this is a Price"),
        ("text", InvalidEvent, "this is a str"),
        (Placed(""), InvalidEvent, r"order_id is the key of its topic and is empty"),
        (Placed("7", tenant="x" * 2000), TooLarge, "the body has"),
        (Cancelled("7", "refused"), InvalidEvent, "the validator refuses the event"),
    ],
)
def test_a_wrong_event_is_refused_at_once(event: Any, error: type[Exception], text: str) -> None:
    def validate(event: object) -> None:
        assert not isinstance(event, Cancelled)

    session = Session()
    outbox = Outbox(Bus("memory://?max_body=1000", validate=validate), ORDERS)
    with pytest.raises(error, match=text):
        outbox.add(session, event)
    assert recorded(session) == []


def test_a_time_without_its_zone_is_refused() -> None:
    session = Session()
    with pytest.raises(ValueError, match="has no time zone"):
        Outbox(Bus("memory://"), ORDERS).add(session, Placed("7"), deliver_at=datetime(2026, 1, 1))  # noqa: DTZ001
    assert recorded(session) == []


@settings(deadline=None)  # the first one of a zone reads its file
@given(st.datetimes(timezones=st.timezones(), min_value=datetime(1980, 1, 1), max_value=datetime(2100, 1, 1)))  # noqa: DTZ001
def test_what_is_due_later_leaves_the_order_and_is_kept_in_utc(moment: datetime) -> None:
    session = Session()
    OUTBOX.add(session, Placed("7"), deliver_at=moment)
    (row,) = recorded(session)
    assert row.deliver_at is not None
    assert (row.in_order, row.deliver_at.utcoffset(), row.deliver_at) == (
        False,
        UTC.utcoffset(None),
        moment.astimezone(UTC),
    )


def test_a_cause_is_inherited() -> None:
    bus, session = Bus("memory://", session_headers=["tenant"]), Session()
    delivery = FakeDelivery()
    delivery.message = bus.writer(ORDERS).write(Placed("1", tenant="acme"), None, "cause", None)
    held: Delivery = delivery
    context = Context(bus, ORDERS, "group", held, NoSleep())
    context.read(Reader(ORDERS, bus.transport(ORDERS).features).read(delivery.message))
    Outbox(bus, ORDERS, PRICES).add(session, Price("tea"), cause=context)
    Outbox(bus, PRICES).tombstone(session, PRICES, "tea", cause=context)
    for row in recorded(session):
        headers = dict(read_headers(row.headers))
        assert (headers["ce_causationid"], headers["ce_correlationid"]) == (b"cause", b"cause")
        assert headers["ce_tenant"] == b"acme"


def test_tombstones_are_of_compacted_topics_of_the_outbox() -> None:
    session, outbox = Session(), Outbox(Bus("memory://"), ORDERS)
    with pytest.raises(InvalidEvent, match=r"shop\.v1 is not compacted"):
        outbox.tombstone(session, ORDERS, "7")
    with pytest.raises(InvalidEvent, match=r"prices\.v1 is none of this outbox's"):
        outbox.tombstone(session, PRICES, "tea")
    with pytest.raises(InvalidEvent, match="needs a key"):
        Outbox(Bus("memory://"), PRICES).tombstone(session, PRICES, "")
    assert recorded(session) == []


def test_topics_that_cannot_be_told_apart_or_carried_are_refused() -> None:
    bus = Bus("memory://")
    with pytest.raises(ConfigurationError, match=r"Placed is an event of shop\.v1 and of copy"):
        Outbox(bus, ORDERS, replace(ORDERS, name="copy"))
    with pytest.raises(ConfigurationError, match="is on broker `moon`; this bus has default"):
        Outbox(bus, replace(ORDERS, broker="moon"))
    with pytest.raises(CapabilityError, match="schema registry"):
        Outbox(bus, replace(ORDERS, name="other", wire_format=WireFormat.CONFLUENT))
    without: Any = Outbox
    with pytest.raises(ConfigurationError, match="needs the topics"):
        without(bus)


def test_many_topics() -> None:
    topics = [replace(PRICES, name=f"t{number}", events=(_event(number),)) for number in range(8)]
    session = Session()
    a, b, c, d, e, f, *more = topics
    outbox = Outbox(Bus("memory://"), a, b, c, d, e, f, *more)
    for topic in topics:
        outbox.add(session, topic.events[0].message("tea"))
    assert {row.topic for row in recorded(session)} == {f"t{number}" for number in range(8)}


def _event(number: int) -> Any:
    return replace(PRICES.events[0], message=type(f"Price{number}", (Price,), {}))


def test_tables_join_the_users_metadata_under_other_names() -> None:
    metadata = MetaData()
    Table("mine", metadata, Column("id", Integer, primary_key=True))
    tables = Tables(metadata, prefix="x_", schema="s")
    assert set(metadata.tables) == {"mine", "s.x_outbox", "s.x_outbox_slots", "s.x_outbox_relays"}
    assert tables.metadata is metadata
    assert {index.name for index in tables.rows.indexes} == {
        "x_outbox_slot",
        "x_outbox_retry",
        "x_outbox_deliver",
    }
    outbox = Outbox(Bus("memory://"), ORDERS, tables=tables)
    assert outbox.tables is tables


def test_a_topic_without_order_puts_nothing_in_order() -> None:
    session = Session()
    unordered = replace(ORDERS, ordering=type(ORDERS.ordering).NONE)
    Outbox(Bus("memory://"), unordered).add(session, Placed("7"))
    (row,) = recorded(session)
    assert (row.in_order, row.key) == (False, b"7")
    assert TopicSpec("t", partitions=4) == TopicSpec("t", **eval(row.spec))  # noqa: S307  what was just written
