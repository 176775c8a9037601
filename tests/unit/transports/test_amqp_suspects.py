import asyncio
import itertools
import random
from dataclasses import dataclass, field
from typing import cast

import pytest
from aiormq.abc import AbstractChannel, DeliveredMessage
from hypothesis import given, settings
from hypothesis import strategies as st
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from eventwire.errors import BrokerError, TopicMissing
from eventwire.message import Message
from eventwire.transport import Subscription, TopicPartition, TopicSpec
from eventwire.transports.amqp import suspects
from eventwire.transports.amqp.client import Channel
from eventwire.transports.amqp.marks import Mark, fingerprint
from eventwire.transports.amqp.notes import Notes
from eventwire.transports.amqp.session import AmqpDelivery, Session
from eventwire.transports.amqp.suspects import Memory, Suspects

ORDERED = TopicSpec("t", partitions=2, ordered=True)
UNORDERED = TopicSpec("u")
QUEUES = suspects.sources(Subscription("g", (ORDERED, UNORDERED)))


@dataclass
class FakeNotes:
    """What the broker would keep."""

    marks: dict[str, Mark] = field(default_factory=dict[str, Mark])
    moved: list[tuple[str, bytes | None, int]] = field(default_factory=list[tuple[str, bytes | None, int]])
    error: BrokerError | None = None
    asked: int = 0

    async def read(self, queue: str) -> Mark:
        await self._answer()
        return self.marks.get(queue, Mark())

    async def write(self, queue: str, mark: Mark) -> None:
        await self._answer()
        self.marks[queue] = mark

    async def pass_on(self, queue: str, message: Message, attempt: int) -> None:
        await self._answer()
        self.moved.append((queue, message.body, attempt))

    async def _answer(self) -> None:
        self.asked += 1
        await asyncio.sleep(0)
        if self.error:
            raise self.error


class FakeChannel:
    def __init__(self) -> None:
        self.cancelled: list[str] = []

    async def basic_cancel(self, consumer_tag: str) -> None:
        self.cancelled.append(consumer_tag)


class Member:
    """A session, its gate, and a broker's side to deliver from."""

    def __init__(self, notes: FakeNotes, memory: Memory | None = None) -> None:
        self.notes = notes
        self.memory = memory or Memory("me", set())
        self.channel = FakeChannel()
        places = {queue: source.place for queue, source in QUEUES.items()}
        self.session = Session(cast("Channel", self.channel), places, 60, 200)
        self.failures: list[BrokerError] = []
        self.gate = Suspects(self.session, QUEUES, cast("Notes", notes), self.memory, self.failures.append)
        self.session.gate = self.gate
        self._tag = 0

    async def deliver(self, queue: str, *bodies: str, again: bool = False) -> None:
        await self.arrive(queue, *bodies, again=again)
        await turns()

    async def arrive(self, queue: str, *bodies: str, again: bool = False) -> None:
        """Deliver, and nothing runs in between."""
        for body in bodies:
            await self.session.on_message(self.made(queue, body, again=again))

    def made(self, queue: str, body: str, *, again: bool = False) -> DeliveredMessage:
        self._tag += 1
        frame = Basic.Deliver(
            consumer_tag=queue, delivery_tag=self._tag, redelivered=again, exchange="e", routing_key=""
        )
        return DeliveredMessage(frame, ContentHeader(), body.encode(), cast("AbstractChannel", self.channel))

    async def taken(self) -> list[AmqpDelivery]:
        await turns()
        return self.session.take(100)


async def turns() -> None:
    for _ in range(30):
        await asyncio.sleep(0)


def bodies(deliveries: list[AmqpDelivery]) -> list[str]:
    return [(delivery.message.body or b"").decode() for delivery in deliveries]


def known(body: str, topic: str = "t") -> str:
    return fingerprint(Message(topic, body.encode()))


async def test_nothing_is_asked_while_nothing_is_redelivered() -> None:
    member = Member(FakeNotes())
    await member.deliver("t.g.p0", "a", "b")
    await member.deliver("u.g", "c")
    assert bodies(await member.taken()) == ["a", "b", "c"]
    assert member.notes.asked == 0
    assert member.gate.places == ()


async def test_suspects_are_handed_out_singly_each_noted_before() -> None:
    member = Member(FakeNotes())
    await member.deliver("t.g.p0", "a", "b", again=True)
    await member.deliver("t.g.p0", "c")
    for expected in ("a", "b"):
        assert member.gate.places == (TopicPartition("t", 0),)
        [delivery] = await member.taken()
        assert bodies([delivery]) == [expected]
        assert (delivery.deaths, delivery.attempt) == (0, 2)
        assert member.notes.marks["t.g.p0"] == Mark("me", known(expected), alone=True)
        assert await member.taken() == []
        delivery.ack()
    assert bodies(await member.taken()) == ["c"]
    assert member.notes.marks["t.g.p0"] == Mark("me")
    assert member.gate.places == ()
    await member.deliver("t.g.p0", "d")
    assert bodies(await member.taken()) == ["d"]


@pytest.mark.parametrize("suspect", [True, False])
async def test_what_arrives_right_behind_a_redelivered_message_comes_after_it(suspect: bool) -> None:
    memory = Memory("me", set() if suspect else {known("a"), known("b")})
    member = Member(FakeNotes(), memory)
    await member.arrive("t.g.p0", "a", "b", again=True)
    await member.arrive("t.g.p0", "c", "d")
    got: list[str] = []
    while taken := await member.taken():
        got += bodies(taken)
        for delivery in taken:
            delivery.ack()
    assert got == ["a", "b", "c", "d"]


async def test_who_is_charged_is_handled_with_nothing_beside_it() -> None:
    notes = FakeNotes({"t.g.p0": Mark("gone", known("a"), {known("a"): 1}, alone=True)})
    member = Member(notes)
    await member.deliver("t.g.p1", "other")
    [other] = await member.taken()
    await member.deliver("t.g.p0", "a", "b", again=True)
    await member.deliver("t.g.p1", "later")
    assert await member.taken() == []  # and nothing is noted of who waits
    assert notes.marks["t.g.p0"] == Mark("me", None, {known("a"): 2})
    other.release()
    [charged] = await member.taken()
    assert (bodies([charged]), charged.deaths) == (["a"], 2)
    charged.release()
    [charged] = await member.taken()
    assert (bodies([charged]), charged.deaths) == (["a"], 2)
    charged.ack()
    rest = await member.taken()
    assert bodies(rest) == ["other", "later", "b"]
    assert notes.marks["t.g.p0"].deaths == {}


async def test_one_suspect_of_all_partitions_is_out_at_a_time_and_no_other_is_noted() -> None:
    member = Member(FakeNotes())
    await member.deliver("t.g.p0", "a", "b", again=True)
    await member.deliver("t.g.p1", "c", "d", again=True)
    await member.deliver("u.g.suspects", "e")
    seen: list[str] = []
    for _ in range(5):
        [delivery] = await member.taken()
        seen += bodies([delivery])
        noted = [mark.handed for mark in member.notes.marks.values() if mark.handed]
        assert noted == [known(seen[-1], delivery.message.topic)]
        assert await member.taken() == []
        delivery.ack()
    assert sorted(seen) == ["a", "b", "c", "d", "e"]
    await member.taken()
    assert not [mark for mark in member.notes.marks.values() if mark.handed]
    assert not member.gate.places


async def test_who_was_handled_beside_others_is_not_charged_and_alone_next_time() -> None:
    member = Member(FakeNotes())
    await member.deliver("t.g.p1", "other")
    await member.taken()
    await member.deliver("t.g.p0", "a", again=True)
    assert bodies(await member.taken()) == ["a"]
    assert member.notes.marks["t.g.p0"] == Mark("me", known("a"))
    heir = Member(member.notes, Memory("heir", set()))
    await heir.deliver("t.g.p1", "fresh")
    [fresh] = await heir.taken()
    await heir.deliver("t.g.p0", "a", again=True)
    assert await heir.taken() == []
    fresh.ack()
    [delivery] = await heir.taken()
    assert (bodies([delivery]), delivery.deaths) == (["a"], 0)
    assert heir.notes.marks["t.g.p0"] == Mark("heir", known("a"), {known("a"): 0}, alone=True)
    await heir.deliver("t.g.p1", "later")
    assert await heir.taken() == []
    delivery.ack()
    assert bodies(await heir.taken()) == ["later"]
    assert heir.notes.marks["t.g.p0"] == Mark("heir")


async def test_who_is_alone_by_chance_is_so_until_others_come() -> None:
    member = Member(FakeNotes())
    await member.deliver("t.g.p0", "a", again=True)
    [suspect] = await member.taken()
    assert member.notes.marks["t.g.p0"].alone
    await member.session.on_message(member.made("t.g.p1", "b"))
    assert member.session.take(100) == []  # not before it is noted
    assert bodies(await member.taken()) == ["b"]
    assert member.notes.marks["t.g.p0"] == Mark("me", known("a"))
    suspect.release()
    [suspect] = await member.taken()
    suspect.ack()
    await member.taken()
    assert member.notes.marks["t.g.p0"] == Mark("me")


async def test_who_was_alone_by_chance_does_not_hold_others_up_when_notes_fail(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(suspects, "_FIRST_PAUSE", 0.0)
    member = Member(FakeNotes())
    await member.deliver("t.g.p0", "a", "c", again=True)
    [suspect] = await member.taken()
    member.notes.error = BrokerError("no answer")
    await member.deliver("t.g.p1", "b")
    assert await member.taken() == []
    member.notes.error = None
    async with asyncio.timeout(5):
        while not (others := await member.taken()):  # noqa: ASYNC110 - the pauses between tries
            await asyncio.sleep(0)
    assert bodies(others) == ["b"]
    assert not member.notes.marks["t.g.p0"].alone
    suspect.ack()
    assert bodies(await member.taken()) == ["c"]


async def test_what_was_given_back_as_it_should_is_no_suspect() -> None:
    notes = FakeNotes({"t.g.p0": Mark("gone", None, {}, frozenset({known("a"), known("b")}))})
    member = Member(notes)
    await member.deliver("t.g.p0", "a", "b", "c", again=True)
    assert bodies(await member.taken()) == ["a", "b"]
    assert notes.marks["t.g.p0"].clean == frozenset()


async def test_suspects_of_competing_consumers_are_moved_then_settled() -> None:
    member = Member(FakeNotes())
    await member.deliver("u.g", "a", "b", again=True)
    assert member.notes.moved == [("u.g.suspects", b"a", 1), ("u.g.suspects", b"b", 1)]
    assert await member.taken() == []
    assert not list(member.gate.in_hand())
    await member.deliver("u.g.suspects", "a", "b")
    await member.deliver("u.g", "fresh")
    for expected in ("a", "b"):
        [delivery] = await member.taken()
        assert bodies([delivery]) == [expected]
        delivery.ack()
    assert bodies(await member.taken()) == ["fresh"]


async def test_what_this_process_held_when_it_lost_the_connection_is_no_suspect() -> None:
    member = Member(FakeNotes())
    await member.deliver("t.g.p0", "open", "waiting")
    await member.deliver("u.g", "competing")
    member.session.take(1)
    member.gate.lost()
    again = Member(member.notes, member.memory)
    await again.deliver("t.g.p0", "open", "waiting", "unseen", again=True)
    await again.deliver("u.g", "competing", again=True)
    assert sorted(bodies(await again.taken())) == ["competing", "open", "waiting"]
    assert member.notes.moved == []


async def test_a_suspect_in_hand_when_the_connection_is_lost_stays_one_and_is_not_charged() -> None:
    member = Member(FakeNotes())
    await member.deliver("t.g.p0", "a", again=True)
    assert bodies(await member.taken()) == ["a"]
    member.gate.lost()
    again = Member(member.notes, member.memory)
    await again.deliver("t.g.p0", "a", "b", again=True)
    [delivery] = await again.taken()
    assert (bodies([delivery]), delivery.deaths) == (["a"], 0)
    assert again.gate.places


async def test_a_clean_end_notes_what_goes_back_and_writes_the_rest_again() -> None:
    notes = FakeNotes()
    member = Member(notes)
    await member.deliver("t.g.p0", "open", "waiting")
    await member.deliver("t.g.p1", "suspect", again=True)
    await member.deliver("u.g", "competing")
    taken = await member.taken()
    taken[0].ack()
    await member.gate.leave()
    assert member.channel.cancelled == ["u.g"]
    assert notes.marks["t.g.p0"] == Mark("me", None, {}, frozenset({known("waiting")}))
    assert notes.marks["t.g.p1"] == Mark("me")
    assert notes.moved == [("u.g", b"competing", 1)]


@given(
    st.lists(st.tuples(st.sampled_from(("t.g.p0", "t.g.p1", "u.g.suspects")), st.integers(0, 9))),
    st.sets(st.integers(0, 9)),
    st.randoms(use_true_random=False),
)
@settings(deadline=None, max_examples=50)
def test_whatever_comes_and_goes_back_order_holds_and_nothing_is_stuck(
    arriving: list[tuple[str, int]], charged: set[int], chance: random.Random
) -> None:
    async def run() -> None:
        marks = {queue: Mark("gone", None, {known(str(n)): 0 for n in charged}) for queue in QUEUES}
        member, left, got = Member(FakeNotes(marks)), len(arriving), dict[tuple[str, int], list[int]]()
        coming, taken = iter(enumerate(arriving)), list[AmqpDelivery]()
        while left:
            for number, (queue, again) in itertools.islice(coming, chance.randrange(4)):
                await member.arrive(queue, str(number), again=again > 4 and number < 10)
            taken += member.session.take(chance.randrange(1, 4))
            assert sum(one.single for one in member.session.in_hand()) <= 1
            if taken and chance.random() < 0.3:
                for _ in range(chance.randrange(len(taken)) + 1):
                    taken.pop().release()
            elif taken:
                delivery = taken.pop(0)
                at = (delivery.message.topic, delivery.partition)
                got.setdefault(at, []).append(int(delivery.message.body or b""))
                delivery.ack()
                left -= 1
            for _ in range(chance.randrange(30)):
                await asyncio.sleep(0)
        assert sorted(itertools.chain(*got.values())) == list(range(len(arriving)))
        assert all(numbers == sorted(numbers) for numbers in got.values())

    asyncio.run(asyncio.wait_for(run(), 30))


async def test_suspects_wait_for_a_broker_that_takes_no_notes_but_not_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(suspects, "_FIRST_PAUSE", 0.0)
    notes = FakeNotes(error=BrokerError("no answer"))
    member = Member(notes)
    await member.deliver("t.g.p0", "a", "b", again=True)
    await member.deliver("u.g", "c", again=True)
    assert await member.taken() == []
    assert "suspects wait" in (member.gate.trouble or "")
    monkeypatch.setattr(suspects, "_PATIENCE", -1.0)
    first = await member.taken()
    assert sorted(bodies(first)) == ["a", "c"]
    assert "not charged" in (member.gate.trouble or "")
    for delivery in first:
        delivery.ack()
    assert bodies(await member.taken()) == ["b"]


async def test_a_broker_that_takes_notes_again_is_used() -> None:
    notes = FakeNotes(error=BrokerError("no answer"))
    member = Member(notes)
    await member.deliver("t.g.p0", "a", again=True)
    notes.error = None
    async with asyncio.timeout(5):
        await member.session.arrived.wait()
    assert bodies(await member.taken()) == ["a"]
    assert notes.marks["t.g.p0"].handed == known("a")
    assert member.gate.trouble is None


async def test_a_mark_that_is_gone_is_told() -> None:
    member = Member(FakeNotes(error=TopicMissing("gone")))
    await member.deliver("t.g.p0", "a", again=True)
    assert [type(failure) for failure in member.failures] == [TopicMissing]


async def test_nothing_begins_after_the_end() -> None:
    member = Member(FakeNotes())
    await member.gate.leave()
    await member.deliver("t.g.p0", "a", again=True)
    assert await member.taken() == []
    assert member.notes.asked == 0
    assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
