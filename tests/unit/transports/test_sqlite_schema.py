from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from eventwire.errors import Unreachable
from eventwire.transport import DriverOptions, Subscription, TopicSpec
from eventwire.transports.sqlite import SqliteTransport, membership, schema
from eventwire.transports.sqlite.membership import Member
from eventwire.transports.sqlite.schema import open_file
from eventwire.url import BrokerUrl
from tests.unit.transports.support import collect, ids

VERSION_1 = """
CREATE TABLE topics (name TEXT PRIMARY KEY, partitions INTEGER NOT NULL, retention REAL) WITHOUT ROWID;
CREATE TABLE partitions (id INTEGER PRIMARY KEY, topic TEXT NOT NULL, number INTEGER NOT NULL,
   base INTEGER NOT NULL DEFAULT 0, next INTEGER NOT NULL DEFAULT 0, UNIQUE (topic, number));
CREATE TABLE log (partition INTEGER NOT NULL, offset INTEGER NOT NULL, time REAL NOT NULL, id TEXT NOT NULL,
   key BLOB, content_type TEXT, headers TEXT NOT NULL, body BLOB, PRIMARY KEY (partition, offset)) WITHOUT ROWID;
CREATE TABLE positions (consumers TEXT NOT NULL, partition INTEGER NOT NULL, committed INTEGER NOT NULL,
   handed INTEGER NOT NULL, epoch INTEGER NOT NULL DEFAULT 0, owner TEXT,
   PRIMARY KEY (consumers, partition)) WITHOUT ROWID;
CREATE TABLE attempts (consumers TEXT NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL,
   count INTEGER NOT NULL, PRIMARY KEY (consumers, partition, offset)) WITHOUT ROWID;
CREATE TABLE members (joined INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
   consumers TEXT NOT NULL, topics TEXT NOT NULL, boot TEXT NOT NULL, expires REAL NOT NULL);
PRAGMA application_id = 1165389428;
PRAGMA user_version = 1;
INSERT INTO topics VALUES ('t', 1, NULL);
INSERT INTO partitions VALUES (1, 't', 0, 0, 5);
INSERT INTO log VALUES (1, 0, 0, 'id-0', NULL, NULL, '[]', x'00'), (1, 1, 0, 'id-1', NULL, NULL, '[]', x'01'),
   (1, 2, 0, 'id-2', NULL, NULL, '[]', x'02'), (1, 3, 0, 'id-3', NULL, NULL, '[]', x'03'),
   (1, 4, 0, 'id-4', NULL, NULL, '[]', x'04');
INSERT INTO positions VALUES ('g', 1, 1, 4, 7, 'dead');
INSERT INTO attempts VALUES ('g', 1, 1, 2);
"""
SPEC = TopicSpec("t")


def columns(path: Path) -> dict[str, list[str]]:
    connection = open_file(path, 1.0)
    try:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return {
            name: [row[1] for row in connection.execute(f"PRAGMA table_info({name})")] for (name,) in tables
        }
    finally:
        connection.close()


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "old.db"
    connection = sqlite3.connect(path)
    connection.executescript(VERSION_1)
    connection.close()
    return path


def test_a_migrated_file_is_as_a_new_one(old: Path, tmp_path: Path) -> None:
    assert columns(old) == columns(tmp_path / "new.db")
    connection = sqlite3.connect(old)
    assert connection.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)
    connection.close()


async def test_a_file_of_version_1_goes_on_where_it_stood(old: Path) -> None:
    transport = SqliteTransport(BrokerUrl.parse(f"sqlite:///{old}?poll=0.005"), DriverOptions())
    await transport.connect()
    assert await transport.lag(SPEC, "g") == 4
    consumer = await transport.subscribe(Subscription("g", (SPEC,)))
    [first] = await collect(consumer, 1)  # its owner died with three in hand
    assert (first.message.id, first.attempt, first.deaths) == ("id-1", 4, 0)
    first.ack()
    for identity in ("id-2", "id-3", "id-4"):
        found = await collect(consumer, 1)
        assert ids(found) == [identity]
        found[0].ack()
    await transport.close()


def test_a_member_of_version_1_that_still_runs_does_no_harm(old: Path) -> None:
    connection = open_file(old, 1.0)
    connection.execute("UPDATE positions SET alone = 1, alone_epoch = epoch")
    # what version 1 does when it takes over and hands out
    connection.execute("UPDATE positions SET owner = 'old', epoch = epoch + 1, handed = 3")
    connection.execute(
        "INSERT INTO members (id, consumers, topics, boot, expires) VALUES ('old', 'g', '[]', '', 1)"
    )
    connection.execute("INSERT INTO attempts VALUES ('g', 1, 2, 1)")
    [taken] = membership.beat(connection, Member("new", "g", ["t"], 10.0, ""), {}).taken
    assert (taken.deaths, taken.suspect, taken.strict) == ({}, 3, False)
    connection.close()


def test_a_migration_that_fails_leaves_the_file_as_it_was(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS[:1], (*schema.STEPS[1], "CREATE TABLE deaths (x)")))
    with pytest.raises(Unreachable, match="already exists"):
        open_file(old, 1.0)
    monkeypatch.undo()
    open_file(old, 1.0).close()
