"""The inbox's table: what migrations see, and what hostile names become in it."""

from __future__ import annotations

import pytest
from sqlalchemy import Insert, MetaData, create_engine, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from eventwire.inbox import InboxKey
from eventwire.inbox.table import inbox_table, insertion, selection


def test_it_is_added_to_the_applications_metadata_once() -> None:
    metadata = MetaData()
    table = inbox_table(metadata)
    assert metadata.tables == {"eventwire_inbox": table}
    assert inbox_table(metadata) is table


def test_name_and_schema_are_the_applications() -> None:
    metadata = MetaData(schema="shop")
    assert inbox_table(metadata).fullname == "shop.eventwire_inbox"
    assert inbox_table(metadata) is inbox_table(metadata, schema="shop")
    assert inbox_table(MetaData(), name="seen", schema="events").fullname == "events.seen"


def test_hostile_names_are_kept_apart_and_shortened() -> None:
    engine, table = create_engine("sqlite://"), inbox_table()
    table.create(engine)
    odd = [b"\0" * 300, b"\0" * 301, b"\xff", b"\xfe"]
    with Session(engine) as session:
        for id in odd:
            session.execute(insertion(table, InboxKey("g" * 999, "t", b"\xff", "x", id)))
        rows = session.execute(select(table)).all()
        assert len({row.digest for row in rows}) == len(odd)
        assert {len(row.consumer_group) for row in rows} == {255}
        assert all("\0" not in row.event_id for row in rows)
        assert session.scalar(selection(table, InboxKey("g", "t", b"", "x", b""))) is None


def test_an_event_is_noted_once() -> None:
    engine, table = create_engine("sqlite://"), inbox_table()
    table.create(engine)
    statement: Insert = insertion(table, InboxKey("g", "t", b"", "x", b"1"))
    with Session(engine) as session:
        session.execute(statement)
        with pytest.raises(IntegrityError):
            session.execute(statement)


def test_the_database_tells_the_time() -> None:
    engine, table = create_engine("sqlite://"), inbox_table()
    table.create(engine)
    with engine.begin() as connection:
        names = [column.name for column in table.columns if column.name != "handled_at"]
        connection.execute(insert(table).values(dict.fromkeys(names, "x")))
        assert connection.scalar(select(table.c.handled_at)) is not None
