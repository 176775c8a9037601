from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncGenerator, Collection
from pathlib import Path

import pytest

from eventwire.errors import (
    BrokerError,
    Closed,
    InvalidEvent,
    PublishError,
    PublishFailed,
    TooLarge,
    TopicMismatch,
    TopicMissing,
    Unreachable,
    UrlError,
)
from eventwire.message import Message, Receipt
from eventwire.policy import Start
from eventwire.transport import Delivery, DriverOptions, Subscription, TopicPartition, TopicSpec
from eventwire.transports.sqlite import SqliteTransport, database, log, membership
from eventwire.transports.sqlite.database import CommitUnknown, run_batch
from eventwire.transports.sqlite.membership import Member
from eventwire.transports.sqlite.schema import Identity, open_file
from eventwire.url import BrokerUrl
from tests.unit.transports.support import ORDERS, PAYMENTS, collect, ids, nothing, order, until


class File:
    """A database file, and the transports on it: each as good as a process of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.made: list[SqliteTransport] = []

    async def open(self, options: str = "poll=0.005") -> SqliteTransport:
        transport = SqliteTransport(BrokerUrl.parse(f"sqlite:///{self.path}?{options}"), DriverOptions())
        self.made.append(transport)
        await transport.connect()
        await transport.declare([ORDERS, PAYMENTS], [])
        return transport

    def sql(self, statement: str) -> list[tuple[object, ...]]:
        connection = sqlite3.connect(self.path, isolation_level=None)
        try:
            return connection.execute(statement).fetchall()
        finally:
            connection.close()


@pytest.fixture
async def file(tmp_path: Path) -> AsyncGenerator[File]:
    made = File(tmp_path / "broker.db")
    yield made
    for transport in made.made:
        await transport.close()


def heartbeats() -> set[asyncio.Task[object]]:
    return {task for task in asyncio.all_tasks() if task.get_name().startswith("eventwire heartbeat")}


def die() -> None:
    """As if every member so far were gone, or stopped: no heartbeat, and nothing is written any more."""
    for task in heartbeats():
        task.cancel()


async def test_messages_and_progress_survive_a_restart(file: File) -> None:
    message = Message(
        "orders", None, b"k", (("a", b"\x00\xff"), ("a", b"")), "application/x", "id-\N{SNOWMAN}"
    )
    first = await file.open()
    await first.publish(ORDERS, message)
    await first.publish(ORDERS, order(2, key="k"))
    consumer = await first.subscribe(Subscription("g", (ORDERS,)))
    [one, _] = await collect(consumer, 2)
    assert one.message == message
    one.ack()
    await first.close()
    second = await file.open()
    [two] = await collect(await second.subscribe(Subscription("g", (ORDERS,))), 1)
    assert (two.message.id, two.attempt) == ("id-2", 2)


async def test_flush_settles_at_once(file: File) -> None:
    transport = await file.open()
    await transport.publish(PAYMENTS, order(1, spec=PAYMENTS))
    consumer = await transport.subscribe(Subscription("g", (PAYMENTS,), commit_interval=60))
    (await collect(consumer, 1))[0].ack()
    await consumer.flush()
    assert file.sql("SELECT sum(committed) FROM positions") == [(1,)]


async def test_acks_are_settled_within_the_commit_interval(file: File) -> None:
    transport = await file.open()
    await transport.publish(PAYMENTS, order(1, spec=PAYMENTS))
    consumer = await transport.subscribe(Subscription("g", (PAYMENTS,), commit_interval=0.01))
    (await collect(consumer, 1))[0].ack()
    await until(lambda: file.sql("SELECT sum(committed) FROM positions") == [(1,)])


async def test_another_process_sees_what_was_published(file: File) -> None:
    consumer = await (await file.open()).subscribe(Subscription("g", (PAYMENTS,)))
    waiting = asyncio.create_task(collect(consumer, 1))
    await (await file.open()).publish(PAYMENTS, order(1, spec=PAYMENTS))
    assert ids(await waiting) == ["id-1"]


async def test_a_dead_owners_messages_come_back_with_one_more_attempt(file: File) -> None:
    dead, alive = await file.open("poll=0.005&lease=0.2"), await file.open("poll=0.005&lease=0.2")
    await dead.publish_many(PAYMENTS, [order(n, spec=PAYMENTS) for n in range(4)])
    consumer = await dead.subscribe(Subscription("g", (PAYMENTS,)))
    await collect(consumer, 2)
    die()
    second = await alive.subscribe(Subscription("g", (PAYMENTS,)))
    found: list[Delivery] = []
    for _ in range(2):  # one by one: they were in hand when their owner died
        found += await collect(second, 1)
        assert await nothing(second)
        found[-1].ack()
    found += await collect(second, 2)
    assert [(each.message.id, each.attempt, each.deaths) for each in found] == [
        ("id-0", 2, 0),
        ("id-1", 2, 0),
        ("id-2", 1, 0),
        ("id-3", 1, 0),
    ]


async def test_a_late_ack_is_fenced_and_the_owner_told(file: File) -> None:
    revoked: list[TopicPartition] = []

    async def on_revoke(partitions: Collection[TopicPartition]) -> None:
        revoked.extend(partitions)
        told.set()

    told = asyncio.Event()
    stalled, other = await file.open("poll=0.005&lease=0.2"), await file.open("poll=0.005&lease=0.2")
    await stalled.publish(PAYMENTS, order(1, spec=PAYMENTS))
    consumer = await stalled.subscribe(Subscription("g", (PAYMENTS,), on_revoke=on_revoke))
    [late] = await collect(consumer, 1)
    die()
    owner = await other.subscribe(Subscription("g", (PAYMENTS,)))
    [again] = await collect(owner, 1)
    late.ack()
    await consumer.flush()
    assert file.sql("SELECT committed FROM positions") == [(0,)]
    async with asyncio.timeout(5):
        await told.wait()
    assert revoked == [TopicPartition("payments", 0)]
    again.ack()
    await owner.flush()
    assert file.sql("SELECT committed FROM positions") == [(1,)]


async def test_a_stalled_owner_hands_out_nothing_more(file: File) -> None:
    stalled, other = await file.open("poll=0.005&lease=0.2"), await file.open("poll=0.005&lease=0.2")
    await stalled.publish_many(PAYMENTS, [order(n, spec=PAYMENTS) for n in range(2)])
    consumer = await stalled.subscribe(Subscription("g", (PAYMENTS,)))
    await collect(consumer, 1)
    die()
    owner = await other.subscribe(Subscription("g", (PAYMENTS,)))
    for _ in range(2):
        (await collect(owner, 1))[0].ack()
    assert await nothing(consumer)


async def test_members_get_fair_shares_as_they_come_and_go(file: File) -> None:
    spec = TopicSpec("wide", partitions=7)
    transports = [await file.open("poll=0.005&lease=0.2") for _ in range(3)]
    await transports[0].declare([spec], [])
    counts = "SELECT count(*) FROM positions WHERE owner IS NOT NULL GROUP BY owner ORDER BY 1"
    for transport in transports[:2]:
        await transport.subscribe(Subscription("g", (spec,)))
    mortal = heartbeats()
    await transports[2].subscribe(Subscription("g", (spec,)))
    await until(lambda: file.sql(counts) == [(2,), (2,), (3,)])
    await transports[0].close()
    await until(lambda: file.sql(counts) == [(3,), (4,)])
    for task in mortal:
        task.cancel()
    await until(lambda: file.sql(counts) == [(7,)])


def test_partitions_that_could_not_be_given_up_are_not_forgotten(tmp_path: Path) -> None:
    connection = open_file(tmp_path / "x.db", 1.0)
    log.declare(connection, [ORDERS])
    membership.enter(connection, "g", log.partition_ids(connection, ORDERS), Start.EARLIEST)
    member = Member("m", "g", ["orders"], 10.0, "boot")
    first = membership.beat(connection, member, {})
    assert [taken.epoch for taken in first.taken] == [1] * 4
    held = {taken.at: taken.epoch for taken in first.taken[1:]}
    again = membership.beat(connection, member, held)
    assert [(taken.at, taken.epoch) for taken in again.taken] == [(first.taken[0].at, 2)]
    assert (again.surplus, again.lost) == ([], [])
    connection.close()


def test_leases_of_another_boot_are_void(tmp_path: Path) -> None:
    connection = open_file(tmp_path / "x.db", 1.0)
    log.declare(connection, [ORDERS])
    membership.enter(connection, "g", log.partition_ids(connection, ORDERS), Start.EARLIEST)
    membership.beat(connection, Member("before", "g", ["orders"], 1e9, "boot 1"), {})
    assert len(membership.beat(connection, Member("after", "g", ["orders"], 1.0, "boot 2"), {}).taken) == 4
    connection.close()


def test_leases_from_before_a_reboot_are_void_where_the_system_names_no_boot(tmp_path: Path) -> None:
    connection = open_file(tmp_path / "x.db", 1.0)
    log.declare(connection, [ORDERS])
    membership.enter(connection, "g", log.partition_ids(connection, ORDERS), Start.EARLIEST)
    membership.beat(connection, Member("before", "g", ["orders"], 10.0, ""), {})
    after = Member("after", "g", ["orders"], 10.0, "")
    assert membership.beat(connection, after, {}).taken == []  # it is alive, and has to give up its surplus
    connection.execute("UPDATE members SET expires = expires + 86400 WHERE id = 'before'")  # a longer uptime
    assert len(membership.beat(connection, after, {}).taken) == 4
    connection.close()


async def test_leases_do_not_look_at_the_wall_clock(file: File, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    consumer = await (await file.open("poll=0.005&lease=30")).subscribe(Subscription("g", (PAYMENTS,)))
    for jump in (86400.0, -86400.0):
        monkeypatch.setattr(time, "time", lambda jump=jump: now + jump)
        other = await (await file.open("poll=0.005&lease=30")).subscribe(Subscription("g", (PAYMENTS,)))
        assert file.sql("SELECT epoch FROM positions WHERE owner IS NOT NULL") == [(1,)]
        assert consumer.health().rebuilt == 0
        await other.close()


async def test_health_tells_what_is_in_the_way(file: File) -> None:
    transport = await file.open("poll=0.005&busy_timeout=0.01")
    await transport.publish_many(PAYMENTS, [order(n, spec=PAYMENTS) for n in range(6)])
    consumer = await transport.subscribe(
        Subscription("g", (PAYMENTS,), max_uncommitted=2, commit_interval=0.01)
    )
    found = await collect(consumer, 2)
    at = TopicPartition("payments", 0)
    await until(lambda: consumer.health().lag == 6)
    assert (consumer.health().connected, consumer.health().paused, consumer.health().suspect) == (
        True,
        (at,),
        (),
    )
    other = sqlite3.connect(file.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    found[0].ack()
    await until(lambda: "locked" in str(consumer.health().trouble))
    other.execute("ROLLBACK")
    other.close()
    await until(lambda: consumer.health().trouble is None)
    assert (consumer.health().lag, consumer.health().paused) == (5, ())
    await consumer.close()
    assert (consumer.health().connected, consumer.health().trouble) == (False, "closed")


async def test_health_tells_of_suspects_and_of_a_lost_lease(file: File) -> None:
    stalled, other = await file.open("poll=0.005&lease=0.2"), await file.open("poll=0.005&lease=0.2")
    await stalled.publish_many(PAYMENTS, [order(n, spec=PAYMENTS) for n in range(2)])
    consumer = await stalled.subscribe(Subscription("g", (PAYMENTS,)))
    [late, _] = await collect(consumer, 2)
    die()
    await until(lambda: not consumer.health().connected)
    owner = await other.subscribe(Subscription("g", (PAYMENTS,)))
    await until(lambda: owner.health().suspect == (TopicPartition("payments", 0),))
    for _ in range(2):
        (await collect(owner, 1))[0].ack()
    assert owner.health().suspect == ()
    late.ack()
    await consumer.flush()
    assert consumer.health().rebuilt == 1


@pytest.mark.parametrize("count", range(0, 40, 3))
async def test_a_cancelled_hand_out_of_a_suspect_is_noted_no_longer(file: File, count: int) -> None:
    dead, alive = await file.open("poll=0.005&lease=0.2"), await file.open("poll=0.005&lease=0.2")
    await dead.publish(PAYMENTS, order(1, spec=PAYMENTS))
    await collect(await dead.subscribe(Subscription("g", (PAYMENTS,))), 1)
    die()
    consumer = await alive.subscribe(Subscription("g", (PAYMENTS,), commit_interval=60))
    await until(lambda: bool(consumer.health().suspect))
    fetching = asyncio.ensure_future(consumer.fetch(1))
    for _ in range(count):  # it is cancelled at a step of its own each time
        await asyncio.sleep(0)
    fetching.cancel()
    [outcome] = await asyncio.gather(fetching, return_exceptions=True)
    if isinstance(outcome, BaseException):
        await consumer.flush()
        assert file.sql("SELECT alone FROM positions") == [(None,)]
    [delivery] = await collect(consumer, 1) if isinstance(outcome, BaseException) else outcome
    assert file.sql("SELECT alone FROM positions") == [(0,)]
    delivery.ack()
    await consumer.flush()
    assert file.sql("SELECT alone, committed FROM positions") == [(None, 1)]


@pytest.mark.parametrize("count", range(0, 60, 4))
async def test_a_cancelled_subscribe_leaves_no_member_behind(file: File, count: int) -> None:
    transport = await file.open()
    subscribing = asyncio.ensure_future(transport.subscribe(Subscription("g", (PAYMENTS,))))
    for _ in range(count):
        await asyncio.sleep(0)
    subscribing.cancel()
    [outcome] = await asyncio.gather(subscribing, return_exceptions=True)
    left = 0 if isinstance(outcome, BaseException) else 1
    assert file.sql("SELECT count(*) FROM members") == [(left,)]


async def test_ping_asks_the_file(file: File) -> None:
    transport = await file.open()
    await transport.ping()
    file.path.rename(file.path.with_suffix(".old"))
    with pytest.raises(BrokerError, match="deleted or replaced"):
        await transport.ping()


async def test_lag_of_a_topic_that_is_missing(file: File) -> None:
    with pytest.raises(TopicMissing, match="absent"):
        await (await file.open()).lag(TopicSpec("absent"), "g")


async def test_a_broken_heartbeat_is_no_secret(file: File, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("bug")

    consumer = await (await file.open()).subscribe(Subscription("g", (PAYMENTS,)))
    monkeypatch.setattr(membership, "beat", broken)
    consumer.look()
    with pytest.raises(BrokerError, match="heartbeat") as caught:
        await collect(consumer, 1)
    assert str(caught.value.__cause__) == "bug"


async def test_retention_trims_only_what_every_group_has_read(file: File) -> None:
    spec = TopicSpec("kept", retention=60.0)
    transport = await file.open("poll=0.005&lease=0.2")
    await transport.declare([spec], [])
    await transport.publish_many(spec, [order(n, spec=spec) for n in range(10)])
    file.sql("UPDATE log SET time = time - 3600 WHERE offset < 8")
    fast = await transport.subscribe(Subscription("fast", (spec,)))
    slow = await transport.subscribe(Subscription("slow", (spec,)))
    for delivery in await collect(fast, 10):
        delivery.ack()
    waiting = await collect(slow, 10)
    await fast.flush()
    connection = open_file(file.path, 5.0)
    log.trim(connection)
    assert file.sql("SELECT count(*) FROM log") == [(10,)]
    for delivery in waiting:
        delivery.ack()
    await slow.flush()
    log.trim(connection)
    connection.close()
    assert file.sql("SELECT min(offset) FROM log") == [(8,)]
    late = await transport.subscribe(Subscription("late", (spec,)))
    assert ids(await collect(late, 2)) == ["id-8", "id-9"]


async def test_undeclared_and_misdeclared_topics(file: File) -> None:
    transport = await file.open()
    absent, wrong = TopicSpec("absent"), TopicSpec("orders", partitions=5)
    with pytest.raises(TopicMissing, match=r"never declared: absent; declare it: `Bus\(url, declare=True\)`"):
        await transport.check([ORDERS, absent], [])
    with pytest.raises(TopicMissing):
        await transport.subscribe(Subscription("g", (absent,)))
    with pytest.raises(TopicMissing):
        await transport.declare([TopicSpec("absent", external=True)], [])
    with pytest.raises(PublishFailed, match="never declared"):
        await transport.publish(absent, order(1, spec=absent))
    for refused in (transport.declare([wrong], []), transport.check([wrong], [])):
        with pytest.raises(TopicMismatch, match="4 partitions in this file and 5 declared"):
            await refused
    with pytest.raises(PublishFailed, match="5 declared"):
        await transport.publish(wrong, order(1))


async def test_many_declare_at_once(tmp_path: Path) -> None:
    file = File(tmp_path / "new.db")
    transports = await asyncio.gather(*(file.open() for _ in range(6)))
    await asyncio.gather(*(transport.declare([TopicSpec("new", 3)], []) for transport in transports))
    assert file.sql("SELECT count(*) FROM partitions WHERE topic = 'new'") == [(3,)]
    await asyncio.gather(*(transport.close() for transport in transports))


async def test_a_full_disk_fails_the_publish_and_recovers(
    file: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[sqlite3.Connection] = []

    def small_disk(path: Path, busy_timeout: float) -> sqlite3.Connection:
        opened.append(open_file(path, busy_timeout))
        opened[-1].execute("PRAGMA max_page_count = 40")
        return opened[-1]

    monkeypatch.setattr(database, "open_file", small_disk)
    transport = await file.open("max_body=10000000")
    small, big = order(1, spec=PAYMENTS), order(2, size=1 << 20, spec=PAYMENTS)
    failed, fine = await asyncio.gather(
        transport.publish(PAYMENTS, big), transport.publish(PAYMENTS, small), return_exceptions=True
    )
    assert isinstance(failed, PublishFailed)
    assert "full" in str(failed)
    assert isinstance(fine, Receipt)
    opened[0].execute("PRAGMA max_page_count = 1000000")
    assert (await transport.publish(PAYMENTS, big)).offset == 1


async def test_a_locked_file_fails_the_publish_within_the_timeout(file: File) -> None:
    transport = await file.open("busy_timeout=0.05")
    other = sqlite3.connect(file.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    outcomes = await transport.publish_many(PAYMENTS, [order(n, spec=PAYMENTS) for n in range(2)])
    assert [type(outcome) for outcome in outcomes] == [PublishFailed, PublishFailed]
    with pytest.raises(PublishFailed, match="locked"):
        await transport.publish(PAYMENTS, order(1, spec=PAYMENTS))
    other.execute("ROLLBACK")
    other.close()
    await transport.publish(PAYMENTS, order(1, spec=PAYMENTS))


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_file_that_is_gone_gets_no_receipts(file: File, replaced: bool) -> None:
    transport = await file.open()
    consumer = await transport.subscribe(Subscription("g", (PAYMENTS,)))
    await transport.publish(PAYMENTS, order(1, spec=PAYMENTS))
    (delivery,) = await collect(consumer, 1)
    file.path.rename(file.path.with_suffix(".old"))
    if replaced:
        file.path.write_bytes(b"")
    delivery.ack()
    many = await transport.publish_many(PAYMENTS, [order(n, spec=PAYMENTS) for n in range(2)])
    assert [type(outcome) for outcome in many] == [PublishFailed, PublishFailed]
    with pytest.raises(PublishFailed, match="was deleted or replaced while it was in use"):
        await transport.publish(PAYMENTS, order(2, spec=PAYMENTS))
    for call in (consumer.flush(), collect(consumer, 1), transport.check([PAYMENTS], [])):
        with pytest.raises(BrokerError, match="deleted or replaced"):
            await call
    await consumer.close()


def test_a_file_that_goes_during_a_commit_leaves_it_unknown(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    connection = open_file(path, 1.0)
    [(_, error)] = run_batch(connection, [lambda _: path.unlink()], Identity(path))
    assert isinstance(error, CommitUnknown)
    connection.close()


def test_a_file_of_a_relative_path_stays_itself_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.db").touch()
    identity = Identity(Path("x.db"))
    monkeypatch.chdir("/")
    identity.check()


async def test_a_failed_flush_keeps_the_acks(file: File) -> None:
    transport = await file.open("busy_timeout=0.01&poll=0.005")
    await transport.publish(PAYMENTS, order(1, spec=PAYMENTS))
    consumer = await transport.subscribe(Subscription("g", (PAYMENTS,), commit_interval=60))
    (await collect(consumer, 1))[0].ack()
    other = sqlite3.connect(file.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(BrokerError, match="locked"):
        await consumer.flush()
    other.execute("ROLLBACK")
    other.close()
    await consumer.flush()
    assert file.sql("SELECT committed FROM positions") == [(1,)]


def test_a_job_that_fails_takes_no_other_with_it(tmp_path: Path) -> None:
    connection = open_file(tmp_path / "x.db", 1.0)
    insert = "INSERT INTO topics VALUES (?, 1, NULL)"
    outcomes = run_batch(
        connection,
        [
            lambda write: write.connection.execute(insert, ("a",)).rowcount,
            lambda write: write.connection.execute(insert, ("a",)).rowcount,
            lambda write: write.connection.execute(insert, ("b",)).rowcount,
        ],
        Identity(tmp_path / "x.db"),
    )
    assert [result for result, _ in outcomes] == [1, None, 1]
    assert isinstance(outcomes[1][1], sqlite3.IntegrityError)
    assert connection.execute("SELECT count(*) FROM topics").fetchone() == (2,)
    connection.close()


async def test_concurrent_publishes_keep_their_order_and_all_get_receipts(file: File) -> None:
    transport = await file.open()
    receipts = await asyncio.gather(*(transport.publish(ORDERS, order(n, key="k")) for n in range(300)))
    assert [receipt.offset for receipt in receipts] == list(range(300))


async def test_too_large_does_not_spoil_a_batch(file: File) -> None:
    transport = await file.open("max_body=100")
    outcomes = await transport.publish_many(
        PAYMENTS, [order(n, size=n * 60, spec=PAYMENTS) for n in range(4)]
    )
    assert [type(outcome) for outcome in outcomes] == [Receipt, Receipt, TooLarge, TooLarge]
    assert isinstance(outcomes[2], PublishError)
    assert outcomes[2].id == "id-2"


async def test_what_is_no_text_does_not_spoil_a_batch(file: File) -> None:
    transport = await file.open()
    sent = [order(n, spec=PAYMENTS) for n in range(3)]
    sent[0].id, sent[1].content_type = "\ud800", "\udfff"
    outcomes = await transport.publish_many(PAYMENTS, sent)
    assert [type(outcome) for outcome in outcomes] == [InvalidEvent, InvalidEvent, Receipt]


async def test_use_after_close(file: File) -> None:
    transport = await file.open()
    consumer = await transport.subscribe(Subscription("g", (PAYMENTS,)))
    waiting = asyncio.ensure_future(consumer.fetch(1))
    await asyncio.sleep(0.02)
    await transport.close()
    await transport.close()
    await consumer.close()
    for refused in (
        waiting,
        transport.publish(PAYMENTS, order(1)),
        transport.publish_many(PAYMENTS, [order(1)]),
        transport.subscribe(Subscription("g", (PAYMENTS,))),
        transport.connect(),
        transport.declare([ORDERS], []),
    ):
        with pytest.raises(Closed):
            await refused


async def test_close_is_bounded_while_another_process_locks_the_file(file: File) -> None:
    transport = await file.open("busy_timeout=0.05&poll=0.005")
    await transport.subscribe(Subscription("g", (PAYMENTS,)))
    other = sqlite3.connect(file.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    async with asyncio.timeout(5):
        await transport.close()
    other.close()


def opens(path: Path) -> SqliteTransport:
    return SqliteTransport(BrokerUrl.parse(f"sqlite:///{path}"), DriverOptions())


async def test_files_that_cannot_be_a_broker(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_bytes(b"this is no database, and long enough to be sure of it" * 50)
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE theirs (x)")
    other.close()
    await (newer := opens(tmp_path / "newer.db")).connect()
    await newer.close()
    with sqlite3.connect(tmp_path / "newer.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    for name, text in (
        ("text.db", "not a database"),
        ("other.db", "another program"),
        ("newer.db", "schema version 99"),
        ("missing/x.db", "folder must exist"),
        ("", "unable to open"),
    ):
        with pytest.raises(Unreachable, match=text):
            await opens(tmp_path / name).connect()


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("sqlite:///x.db?pol=1", "did you mean `poll`"),
        ("sqlite:///x.db?poll=0", "at least"),
        ("sqlite://", "sqlite:///relative.db"),
        ("sqlite:///:memory:", "sqlite:///relative.db"),
        ("sqlite://host/x.db", "sqlite:///relative.db"),
    ],
)
def test_bad_urls(url: str, text: str) -> None:
    with pytest.raises(UrlError, match=text):
        SqliteTransport(BrokerUrl.parse(url), DriverOptions())


def test_driver_options_are_refused() -> None:
    with pytest.raises(UrlError, match="no client"):
        SqliteTransport(BrokerUrl.parse("sqlite:///x.db"), DriverOptions(consumer={"a": 1}))
