"""What must hold on every database: test classes on SQLite and PostgreSQL derive from this one."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event, select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker
from sqlalchemy.orm import scoped_session, sessionmaker

from eventwire import Bus, Closed, ConfigurationError, PublishUnknown, TooLarge, Unroutable
from eventwire.outbox import SLOTS, Relay, Tables
from eventwire.outbox.store import Failure
from eventwire.outbox.watch import Watch
from tests.unit.outbox.stage import LATER, Stage, drain, joined, until
from tests.unit.shop import PRICES, Cancelled, OrdersPublisher, Placed, Price


class OutboxCases:
    # --- recording

    async def test_what_was_recorded_is_published_as_the_bus_would_and_then_gone(self, stage: Stage) -> None:
        event_ = Placed("7", 5, tenant="acme")
        await OrdersPublisher(stage.bus).publish(event_, headers={"h": "v"}, id="mine")
        stage.record(event_, headers={"h": "v"}, id="mine")
        async with joined(stage.rounds()) as relay:
            await drain(relay)
        published, relayed = stage.seen.messages
        assert (relayed.topic, relayed.body, relayed.key, relayed.content_type, relayed.id) == (
            published.topic,
            published.body,
            published.key,
            published.content_type,
            published.id,
        )
        without_time = [[h for h in m.headers if h[0] != "ce_time"] for m in stage.seen.messages]
        assert without_time[0] == without_time[1]
        assert stage.rows() == []

    async def test_id_and_time_are_those_of_the_recording(self, stage: Stage) -> None:
        (id,) = stage.record(Placed("7"))
        before = datetime.now(UTC)
        async with joined(stage.rounds()) as relay:
            await drain(relay)
        (message,) = stage.seen.messages
        assert message.id == id
        assert datetime.fromisoformat((message.header("ce_time") or b"").decode()) <= before

    async def test_an_async_session_records_without_io(self, stage: Stage) -> None:
        statements: list[str] = []
        event.listen(stage.engine.sync_engine, "before_cursor_execute", lambda *a: statements.append(a[2]))
        async with stage.async_session() as session:
            stage.outbox.add(session, Placed("7"))
            stage.outbox.add(session, Price("s", 1))
            assert statements == []
            await session.commit()
        assert any("INSERT" in statement for statement in statements)
        assert [row.topic for row in stage.rows()] == ["shop.v1", "prices.v1"]

    async def test_scoped_sessions_record_too(self, stage: Stage) -> None:
        scoped = scoped_session(sessionmaker(stage.sync_engine))
        stage.outbox.add(scoped, Placed("7"))
        scoped.commit()
        scoped.remove()
        async_scoped: async_scoped_session[AsyncSession] = async_scoped_session(
            async_sessionmaker(stage.engine), scopefunc=asyncio.current_task
        )
        stage.outbox.add(async_scoped, Placed("8"))
        await async_scoped.commit()
        await async_scoped.remove()
        assert [row.key for row in stage.rows()] == [b"7", b"8"]

    async def test_what_is_rolled_back_is_never_published(self, stage: Stage) -> None:
        with stage.session() as session:
            stage.outbox.add(session, Placed("1"))
            session.flush()
            session.rollback()
            stage.outbox.add(session, Placed("2"))
            with session.begin_nested() as savepoint:
                stage.outbox.add(session, Placed("3"))
                session.flush()
                savepoint.rollback()
            session.commit()
        async with joined(stage.rounds()) as relay:
            await drain(relay)
        assert [message.key for message in stage.seen.messages] == [b"2"]

    async def test_rows_of_one_flush_keep_the_order_of_their_calls(self, stage: Stage) -> None:
        stage.record(*(Placed("7", number) for number in range(1200)))
        assert [row.body for row in stage.rows()] == [
            stage.message(Placed("7", number)).body for number in range(1200)
        ]

    async def test_a_tombstone_has_no_body(self, stage: Stage) -> None:
        with stage.session() as session, session.begin():
            stage.outbox.tombstone(session, PRICES, "tea")
        async with joined(stage.rounds()) as relay:
            await drain(relay)
        assert [(m.topic, m.key, m.body) for m in stage.seen.messages] == [("prices.v1", b"tea", None)]

    # --- order

    @pytest.mark.parametrize("batch", [1, 7, 500])
    async def test_each_key_is_published_in_order(self, stage: Stage, batch: int) -> None:
        events = [Placed(str(number * number % 7), number) for number in range(120)]
        for start in range(0, 120, 30):
            stage.record(*events[start : start + 30])
        async with joined(stage.rounds(batch=batch)) as relay:
            await drain(relay)
        ordered = [stage.message(e) for e in events]
        for key in (b"%d" % number for number in range(7)):
            assert stage.seen.bodies(key) == [message.body for message in ordered if message.key == key]

    async def test_two_relays_publish_everything_once_and_each_key_in_order(self, stage: Stage) -> None:
        events = [Placed(str(number % 40), number) for number in range(400)]
        for start in range(0, 400, 100):
            stage.record(*events[start : start + 100])
        async with joined(stage.rounds(batch=20)) as one, joined(stage.rounds(batch=20)) as other:
            await one.members.beat()
            await asyncio.gather(drain(one), drain(other))
            assert (len(one.members.slots), len(other.members.slots)) == (32, 0)
            await other.members.beat()
            await asyncio.gather(drain(one), drain(other))
        assert len(set(stage.seen.ids)) == len(stage.seen.ids) == 400
        for key in (b"%d" % number for number in range(40)):
            cents = [body.split(b'"cents": ')[1] for body in stage.seen.bodies(key) if body]
            assert cents == sorted(cents, key=lambda text: int(text.split(b",")[0]))

    # --- failures

    async def test_a_row_that_cannot_be_published_stays_and_holds_up_its_key_alone(
        self, stage: Stage
    ) -> None:
        bad, behind, other = stage.record(Placed("1"), Placed("1"), Placed("2"))
        stage.seen.refuse = lambda message: TooLarge("too\0 large") if message.id == bad else None
        async with joined(stage.rounds(retry=LATER)) as relay:
            await drain(relay)
            assert stage.seen.ids == [other]
            assert [(row.event_id, row.attempts) for row in stage.rows()] == [(bad, 1), (behind, 0)]
            (failing,) = await relay.store.failing(20)
            assert (failing.id, failing.key, failing.attempts) == (bad, b"1", 1)
            assert failing.error == "TooLarge: too\N{REPLACEMENT CHARACTER} large"
            lag = await relay.store.lag()
            assert (lag.waiting, lag.failing, lag.scheduled) == (2, 1, 0)
            (later,) = stage.record(Placed("1"))  # joins the queue
            await drain(relay)
            assert stage.seen.ids == [other]
            stage.seen.refuse = lambda _: None
            stage.change(retry_at=None)
            await drain(relay)
        assert stage.seen.ids == [other, bad, behind, later]
        assert stage.rows() == []

    @pytest.mark.parametrize("error", [Unroutable("nobody"), RuntimeError("of a middleware")])
    async def test_it_is_tried_for_ever(self, stage: Stage, error: Exception) -> None:
        (bad,) = stage.record(Placed("1"))
        stage.seen.refuse = lambda _: error
        async with joined(stage.rounds()) as relay:
            for attempt in range(1, 8):
                assert await relay.round()
                assert [row.attempts for row in stage.rows()] == [attempt]
            stage.seen.refuse = lambda _: None
            await drain(relay)
        assert stage.seen.ids == [bad]
        assert relay.failed == 7

    async def test_a_row_of_an_unordered_kind_holds_up_nothing(self, stage: Stage) -> None:
        past = datetime.now(UTC) - timedelta(hours=1)
        (bad,) = stage.record(Placed("1"), deliver_at=past)
        (good,) = stage.record(Placed("1"))
        stage.seen.refuse = lambda message: TooLarge("large") if message.id == bad else None
        async with joined(stage.rounds(retry=LATER)) as relay:
            await drain(relay)
            assert stage.seen.ids == [good]

    async def test_what_is_unknown_is_published_again_with_its_id(self, stage: Stage) -> None:
        (id,) = stage.record(Placed("1"))
        outcomes = iter([PublishUnknown("?"), None])
        stage.seen.refuse = lambda _: next(outcomes)
        async with joined(stage.rounds()) as relay:
            assert await relay.round()
            relay.publishing.brokers.worked("default")  # no pause in a test
            await drain(relay)
        assert stage.seen.ids == [id]

    async def test_a_broker_that_the_relay_does_not_have_stops_its_topics_alone(self, stage: Stage) -> None:
        lost, kept = stage.record(Placed("1"), Price("tea"))
        with stage.session() as session, session.begin():
            rows = stage.tables.rows
            session.execute(update(rows).where(rows.c.event_id == lost).values(broker="moon"))
        async with joined(stage.rounds(retry=LATER)) as relay:
            await drain(relay)
            assert stage.seen.ids == [kept]
            (failing,) = await relay.store.failing(20)
            assert "broker `moon`" in failing.error
            assert "broker `moon`" in relay.publishing.topics.reasons[0]

    async def test_more_failing_keys_than_a_batch_has_rows_block_nobody(self, stage: Stage) -> None:
        bad = stage.record(*(Placed(f"bad{number}") for number in range(30)))
        (good,) = stage.record(Placed("good"))
        stage.seen.refuse = lambda message: TooLarge("large") if message.id in bad else None
        async with joined(stage.rounds(batch=10, retry=LATER)) as relay:
            await drain(relay)
            assert stage.seen.ids == [good]

    async def test_a_wait_noted_before_the_clock_was_set_back_does_not_last(self, stage: Stage) -> None:
        (id,) = stage.record(Placed("1"))
        stage.change(retry_at=datetime.now(UTC) + timedelta(days=1), attempts=1)
        async with joined(stage.rounds()) as relay:
            await drain(relay)
        assert stage.seen.ids == [id]

    # --- later

    async def test_what_is_due_later_waits_and_what_is_due_goes_out_of_order(self, stage: Stage) -> None:
        day = timedelta(days=1)
        east = datetime.now(UTC).astimezone(tz=None) - timedelta(minutes=5)
        stage.record(Placed("1", 1), deliver_at=datetime.now(UTC) + day)
        stage.record(Placed("1", 2))
        stage.record(Placed("1", 3), deliver_at=east)
        async with joined(stage.rounds(batch=2)) as relay:
            await drain(relay)
            assert {message.body for message in stage.seen.messages} == {
                stage.message(Placed("1", cents)).body for cents in (2, 3)
            }
            lag = await relay.store.lag()
            assert (lag.waiting, lag.scheduled, lag.oldest) == (0, 1, None)
            stage.change(deliver_at=datetime.now(UTC) - day)
            lag = await relay.store.lag()
            assert lag.waiting == 1
            assert lag.oldest is not None
            assert lag.oldest >= day.total_seconds()
            await drain(relay)
        assert len(stage.seen.messages) == 3

    async def test_neither_due_nor_ordered_rows_starve_the_others(self, stage: Stage) -> None:
        stage.record(*(Placed("a") for _ in range(6)))
        stage.record(*(Placed("b") for _ in range(6)), deliver_at=datetime.now(UTC) - timedelta(hours=1))
        async with joined(stage.rounds(batch=4)) as relay:
            await relay.round()
            assert sorted(message.key or b"" for message in stage.seen.messages) == [b"a", b"a", b"b", b"b"]

    # --- relays

    async def test_slots_are_shared_and_given_up(self, stage: Stage) -> None:
        async with joined(stage.rounds()) as one:
            assert len(one.members.slots) == SLOTS
            async with joined(stage.rounds()) as other:
                assert len(other.members.slots) == 0
                for relay in (one, other, one, other):
                    await relay.members.beat()
                    await relay.round()
                assert (len(one.members.slots), len(other.members.slots)) == (32, 32)
                assert not one.members.slots.keys() & other.members.slots.keys()
                assert (one.members.relays, other.members.relays) == (2, 2)
            await one.members.beat()
            await one.round()
            assert len(one.members.slots) == SLOTS
            assert sorted(set(one.members.slots.values())) == [1, 3]  # each owner's epoch is a new one

    async def test_a_dead_relays_slots_are_taken_over(self, stage: Stage) -> None:
        (id,) = stage.record(Placed("1"))
        async with joined(stage.rounds()), joined(stage.rounds()) as heir:
            heir.members.watch = Watch(1e-9)
            await heir.members.beat()
            await heir.members.beat()  # and the other one has not
            await drain(heir)
            assert len(heir.members.slots) == SLOTS
        assert stage.seen.ids == [id]

    async def test_a_relay_that_was_held_for_dead_changes_nothing_and_starts_anew(self, stage: Stage) -> None:
        stage.record(Placed("1"), Placed("2"))
        async with joined(stage.rounds()) as stale:
            term, held = stale.members.term, dict(stale.members.slots)
            rows, _ = await stale.store.read(stale.members.me, held, 10)
            await stale.store.bury(stale.members.me, 0)
            async with joined(stage.rounds()) as heir:
                lost = await stale.store.settle(
                    stale.members.me, held, rows[:1], [Failure(rows[1], TooLarge("large"), 1.0)]
                )
                assert lost == {row.slot for row in rows}
                assert [(row.attempts, row.error) for row in stage.rows()] == [(0, None), (0, None)]
                await stale.members.beat()
                assert not stale.members.holds(term)
                assert stale.members.slots == {}
                await drain(heir)
        assert stage.rows() == []

    async def test_a_relay_that_was_held_for_dead_is_not_buried_when_it_beats(self, stage: Stage) -> None:
        async with joined(stage.rounds()) as relay:
            await relay.members.beat()
            await relay.store.bury(relay.members.me, 0)  # seen before that beat
            await relay.members.beat()
            assert len(relay.members.slots) == SLOTS

    async def test_only_who_lives_claims_slots(self, stage: Stage) -> None:
        async with joined(stage.rounds()) as relay:
            await relay.store.bury(relay.members.me, 0)
            assert await relay.store.claim(relay.members.me, 5) == {}

    async def test_a_slot_that_is_lost_meanwhile_is_told_by_the_next_look(self, stage: Stage) -> None:
        stage.record(Placed("1"))
        async with joined(stage.rounds()) as relay:
            with stage.session() as session, session.begin():
                slots = stage.tables.slots
                session.execute(update(slots).where(slots.c.slot != 5).values(epoch=slots.c.epoch + 1))
            await drain(relay)
            assert list(relay.members.slots) in ([5], [])
            assert len(stage.rows()) == 1

    async def test_settling_again_changes_nothing(self, stage: Stage) -> None:
        stage.record(Placed("1"), Placed("2"))
        async with joined(stage.rounds()) as relay:
            me, held = relay.members.me, dict(relay.members.slots)
            rows, _ = await relay.store.read(me, held, 1)
            for _ in range(2):
                assert not await relay.store.settle(me, held, rows, [])
            assert [row.key for row in stage.rows()] == [b"2"]

    async def test_a_settlement_that_fails_is_repeated(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (id,) = stage.record(Placed("1"))
        async with joined(stage.rounds()) as relay:
            settle, failures = relay.store.settle, iter([True, True, False])

            async def sometimes(*arguments: object) -> object:
                if next(failures):
                    raise OperationalError("COMMIT", {}, ConnectionError("gone"))
                return await settle(*arguments)  # type: ignore[arg-type]

            monkeypatch.setattr(relay.store, "settle", sometimes)
            await drain(relay)
            assert relay.trouble == {"database": "database: ConnectionError: gone"}
        assert stage.seen.ids == [id]
        assert stage.rows() == []

    # --- life

    async def test_it_relays_in_the_background_and_tells_how_it_is(self, stage: Stage) -> None:
        relay = stage.relay(lag_interval=0.01)
        assert not relay.health().running
        async with relay:
            ids = stage.record(*(Placed(str(number)) for number in range(50)))
            async with stage.async_session() as session:
                ids.append(stage.outbox.add(session, Cancelled("7")))
                await session.commit()
            relay.wake()
            await until(lambda: not stage.rows())
            await until(lambda: (lag := relay.health().lag) is not None and lag.waiting == 0)
            health = relay.health()
            assert (health.running, health.slots, health.relays, health.trouble) == (True, SLOTS, 1, None)
            assert (health.published, health.failed) == (51, 0)
            assert health.progress is not None
            assert health.looked is not None
        assert sorted(stage.seen.ids) == sorted(ids)
        assert not relay.health().running
        with stage.session() as session:
            assert session.execute(select(stage.tables.relays)).all() == []
            assert set(session.scalars(select(stage.tables.slots.c.owner))) == {None}

    async def test_stop_ends_the_run_after_the_batch(self, stage: Stage) -> None:
        stage.record(Placed("1"))
        relay = stage.relay(poll_interval=60.0)
        run = asyncio.create_task(relay.run())
        await until(lambda: not stage.rows())
        relay.stop()
        await run
        await relay.stopping()
        assert stage.bus.started  # it was started before
        with pytest.raises(Closed, match="runs once"):
            await relay.run()

    async def test_a_bus_that_was_not_started_is_started_and_closed(self, stage: Stage) -> None:
        bus = Bus("memory://")
        async with stage.relay(bus):
            assert bus.started
        with pytest.raises(Closed):
            await bus.start()

    async def test_missing_tables_are_told(self, stage: Stage) -> None:
        relay = Relay(stage.bus, stage.engine, tables=Tables(prefix="other_"))
        with pytest.raises(
            ConfigurationError,
            match="no other_outbox, other_outbox_slots, other_outbox_relays: run the migration",
        ):
            await relay.run()
        assert stage.bus.started

    async def test_lag_of_a_session(self, stage: Stage) -> None:
        stage.record(Placed("1"), Placed("2"))
        with stage.session() as session:
            lag = stage.outbox.lag(session)
        assert (lag.waiting, lag.scheduled, lag.failing) == (2, 0, 0)
        assert lag.oldest is not None
        async with stage.async_session() as async_session:
            assert (await async_session.run_sync(stage.outbox.lag)).waiting == 2
