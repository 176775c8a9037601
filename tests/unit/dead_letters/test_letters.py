from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventwire.bus import Bus
from eventwire.dead_letters import DeadLetters, Letter, Progress, Selection, reading
from eventwire.errors import (
    BrokerError,
    ConfigurationError,
    PublishError,
    PublishUnknown,
    TooLarge,
    TopicMissing,
)
from eventwire.links import make_transport
from eventwire.message import Message, Receipt
from eventwire.middleware.dead_letter import POINTER
from eventwire.policy import DeadLetterPolicy
from eventwire.transport import DriverOptions, Subscription, TopicSpec, Transport
from eventwire.transports.memory import MemoryTransport
from eventwire.url import BrokerUrl
from tests.unit.dead_letters.support import DEAD, RETRY, SOURCE, letter, put, taken
from tests.unit.shop import ORDERS


@pytest.fixture(params=["memory", "sqlite"])
async def broker(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Transport]:
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/broker.db?poll=0.005"
    made = make_transport(url, DriverOptions())
    await made.connect()
    yield made
    await made.close()


async def ids(letters: DeadLetters, selection: Selection | None = None) -> list[str]:
    async with aclosing(letters.browse(selection or Selection())) as found:
        return [each.id async for each in found]


async def test_browsing_settles_nothing(broker: Transport) -> None:
    await put(broker, [letter(number) for number in range(250)])
    letters = DeadLetters(broker, SOURCE, "g")
    for _ in range(2):
        assert await ids(letters) == [f"id-{number}" for number in range(250)]
        assert await letters.count() == 250
    assert await ids(letters, Selection(limit=3)) == ["id-0", "id-1", "id-2"]
    assert await ids(letters, Selection(ids=["id-77", "id-200"])) == ["id-77", "id-200"]


async def test_a_replayed_event_is_what_it_was(broker: Transport) -> None:
    await put(broker, [letter(5, eventwire_retry_attempt="9")])
    progress = await DeadLetters(broker, SOURCE, "g").replay()
    assert (progress.total, progress.done, progress.moved) == (1, 1, 0)
    [again] = await taken(broker, RETRY)
    assert (again.topic, again.body, again.key, again.id) == ("t.g.retry", b"body 5", b"k", "id-5")
    assert again.content_type == "application/protobuf"
    assert again.headers[:2] == (("ce_type", b"a.v1.A"), ("tenant", b"\xff\x00"))
    assert [name for name, _ in again.headers[2:]] == ["eventwire_replayed", "eventwire_retry_origin"]
    assert again.header("eventwire_retry_origin") == b"1:5"
    assert await broker.lag(SOURCE, "g") == 0


async def test_to_source_is_for_every_group(broker: Transport) -> None:
    await put(broker, [letter(1)])
    await DeadLetters(broker, SOURCE, "g").replay(to_source=True)
    [again] = await taken(broker, SOURCE, "another")
    assert (again.topic, again.id, again.header("eventwire_retry_origin")) == ("t", "id-1", None)
    assert await broker.lag(RETRY, "g") == 0


async def test_what_does_not_match_stays_in_its_order(broker: Transport) -> None:
    everything = [letter(number, kind="a.v1.A" if number % 3 else "a.v1.B") for number in range(400)]
    await put(broker, everything)
    letters = DeadLetters(broker, SOURCE, "g")
    progress = await letters.replay(Selection(types=["a.v1.B"]))
    others = [each for each in everything if each.header("ce_type") == b"a.v1.A"]
    assert (progress.seen, progress.matched, progress.done) == (400, 134, 134)
    assert progress.moved == len(others)
    assert await taken(broker, DEAD, letters.reader) == others  # byte for byte
    assert [each.id for each in await taken(broker, RETRY)] == [f"id-{number}" for number in range(0, 400, 3)]


async def test_nothing_moves_without_need(broker: Transport) -> None:
    await put(broker, [letter(number) for number in range(60)])
    letters = DeadLetters(broker, SOURCE, "g")
    assert (await letters.purge(Selection(ids=["id-0", "id-1"]))).moved == 0
    assert (await letters.purge(Selection(ids=["nobody"]))).moved == 0
    assert await ids(letters) == [f"id-{number}" for number in range(2, 60)]


async def test_a_limit_takes_the_oldest(broker: Transport) -> None:
    await put(broker, [letter(number, error="E" if number % 2 else "F") for number in range(300)])
    letters = DeadLetters(broker, SOURCE, "g")
    progress = await letters.purge(Selection(errors=["E"], limit=2))
    assert (progress.matched, progress.done) == (2, 2)
    assert await ids(letters) == ["id-0", "id-2", *(f"id-{number}" for number in range(4, 300))]
    assert (await letters.replay(Selection(limit=150))).done == 150
    assert await letters.count() == 148


async def test_pointers_are_refused_and_stay(broker: Transport) -> None:
    pointer = replace(letter(1, body_size="9999999"), body=b"{}", content_type=POINTER)
    await put(broker, [letter(0), pointer, letter(2)])
    letters = DeadLetters(broker, SOURCE, "g")
    progress = await letters.replay()
    assert (progress.done, progress.refused) == (2, 1)
    assert "too large to be set aside: it is at t:1:1" in progress.refusals[0].why
    assert await ids(letters) == ["id-1"]
    assert (await letters.purge()).done == 1


async def test_what_is_too_large_for_the_broker_stays(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/broker.db?poll=0.005&max_body="
    large = make_transport(f"{url}1000", DriverOptions())
    await large.connect()
    await put(large, [replace(letter(0), body=b"x" * 500), letter(1)])
    await large.close()
    small = make_transport(f"{url}100", DriverOptions())
    await small.connect()
    letters = DeadLetters(small, SOURCE, "g")
    with pytest.raises(PublishUnknown, match="cannot stay"):  # it cannot be moved behind the other one either
        await letters.replay()
    assert await ids(letters) == ["id-0", "id-1"]
    assert (await letters.replay(Selection(limit=1))).refusals[0].id == "id-0"
    await small.close()


async def test_what_comes_meanwhile_is_not_looked_at(broker: Transport) -> None:
    await put(broker, [letter(number) for number in range(5)])
    letters = DeadLetters(broker, SOURCE, "g")
    seen: list[str] = []
    async with aclosing(letters.browse()) as found:
        async for each in found:
            seen.append(each.id)
            await broker.publish(DEAD, letter(100 + len(seen)))
    assert seen == [f"id-{number}" for number in range(5)]


async def test_keys_with_letters(broker: Transport) -> None:
    await put(
        broker, [*(letter(number, key=f"k{number % 3}") for number in range(9)), replace(letter(9), key=None)]
    )
    assert await DeadLetters(broker, SOURCE, "g").keys() == {b"k0", b"k1", b"k2"}


async def test_rate_waits_and_loses_nothing(broker: Transport) -> None:
    await put(broker, [letter(number) for number in range(30)])
    progress = await DeadLetters(broker, SOURCE, "g").replay(rate=1000)
    assert progress.done == 30


async def test_an_empty_place_is_done_at_once(broker: Transport) -> None:
    await put(broker, [])
    letters = DeadLetters(broker, SOURCE, "g")
    assert (await letters.replay(), await letters.purge()) == (Progress(), Progress())
    assert await ids(letters) == []


async def test_a_cancelled_replay_loses_nothing(broker: Transport) -> None:
    await put(broker, [letter(number, kind="B" if number % 2 else "A") for number in range(500)])
    letters = DeadLetters(broker, SOURCE, "g")
    replayed: Counter[str] = Counter()
    for steps in range(0, 200, 8):
        task = asyncio.create_task(letters.replay(Selection(types=["B"])))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        replayed += Counter(each.id for each in await taken(broker, RETRY))
        assert {*await ids(letters)} | {*replayed} == {f"id-{number}" for number in range(500)}
    await letters.replay(Selection(types=["B"]))
    replayed += Counter(each.id for each in await taken(broker, RETRY))
    assert set(replayed) == {f"id-{number}" for number in range(1, 500, 2)}
    assert set(await ids(letters)) == {f"id-{number}" for number in range(0, 500, 2)}


async def test_two_at_once_lose_nothing(broker: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_QUIET", 0.2)  # the second finds less than it counted
    await put(broker, [letter(number, kind="B" if number % 2 else "A") for number in range(500)])
    runs = [DeadLetters(broker, SOURCE, "g").replay(Selection(types=[kind])) for kind in ("A", "B")]
    await asyncio.gather(*runs)
    replayed = {each.id for each in await taken(broker, RETRY)}
    left = set(await ids(DeadLetters(broker, SOURCE, "g")))
    assert replayed | left == {f"id-{number}" for number in range(500)}
    assert {f"id-{number}" for number in range(0, 500, 2)} <= replayed


class Failing(MemoryTransport):
    """Fails the publishes of one topic, or says that they are too large, until told otherwise."""

    def __init__(self) -> None:
        super().__init__(BrokerUrl.parse("memory://"), DriverOptions())
        self.failing: set[str] = set()
        self.error: type[PublishError] = PublishUnknown

    async def publish_many(
        self, topic: TopicSpec, messages: Sequence[Message]
    ) -> Sequence[Receipt | PublishError]:
        if topic.name in self.failing:
            return [self.error("down", message) for message in messages]
        return await super().publish_many(topic, messages)


@pytest.mark.parametrize("topic", [DEAD.name, RETRY.name])
async def test_a_publish_that_fails_settles_nothing(topic: str) -> None:
    broker = Failing()
    await put(broker, [letter(number, kind="B" if number % 2 else "A") for number in range(20)])
    letters = DeadLetters(broker, SOURCE, "g")
    broker.failing = {topic}
    with pytest.raises(PublishUnknown):
        await letters.replay(Selection(types=["B"]))
    assert await ids(letters) == [f"id-{number}" for number in range(20)]
    broker.failing = set()
    assert (await letters.replay(Selection(types=["B"]))).done == 10
    assert await ids(letters) == [f"id-{number}" for number in range(0, 20, 2)]


async def test_what_the_retry_topic_never_takes_stays() -> None:
    broker = Failing()
    await put(broker, [letter(0)])
    broker.failing, broker.error = {RETRY.name}, TooLarge
    letters = DeadLetters(broker, SOURCE, "g")
    assert [refusal.why for refusal in (await letters.replay()).refusals] == ["down"]
    assert await ids(letters) == ["id-0"]


async def test_somebody_elses_reader_is_named(broker: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_FIRST", 0.1)
    await put(broker, [letter(0)])
    letters = DeadLetters(broker, SOURCE, "g")
    other = await broker.subscribe(Subscription(letters.reader, (DEAD,)))
    await other.fetch(1)
    with pytest.raises(BrokerError, match=r"1 messages wait for group g\.dead, and none came within 0\.1 s"):
        await ids(letters)


async def test_a_place_that_was_never_declared(tmp_path: Path) -> None:
    broker = make_transport(f"sqlite:///{tmp_path}/broker.db", DriverOptions())
    await broker.connect()
    letters = DeadLetters(broker, SOURCE, "g")
    for refused in (letters.count(), ids(letters), letters.replay(), letters.keys()):
        with pytest.raises(TopicMissing, match="never declared"):
            await refused
    await broker.close()


async def test_of_a_bus_and_a_topic() -> None:
    async with Bus("memory://", declare=True) as bus:
        letters = DeadLetters(bus, ORDERS, "billing")
        assert (letters.place.name, letters.retries.name) == ("shop.v1.billing.dead", "shop.v1.billing.retry")
        assert await letters.count() == 0
        other = DeadLetters(bus, ORDERS, "billing", policy=DeadLetterPolicy(topic="{topic}.lost"))
        assert other.place.name == "shop.v1.lost"
        with pytest.raises(ConfigurationError, match="disabled"):
            DeadLetters(bus, ORDERS, "billing", policy=DeadLetterPolicy(disabled=True))
        with pytest.raises(ConfigurationError, match="a bus and a Topic"):
            DeadLetters(bus, SOURCE, "billing")


KINDS = st.lists(st.sampled_from("AB"), max_size=30)


@settings(max_examples=150, deadline=None)
@given(KINDS, st.none() | st.integers(1, 12), st.integers(1, 7), st.booleans())
def test_the_rule(kinds: list[str], limit: int | None, batch: int, replay: bool) -> None:
    asyncio.run(hold(kinds, limit, batch, replay=replay))


async def hold(kinds: list[str], limit: int | None, batch: int, *, replay: bool) -> None:
    """The oldest that match are done, all others stay in their order, whatever the batches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("eventwire.dead_letters.letters.BATCH", batch)
        patch.setattr("eventwire.dead_letters.settling.BATCH", batch)
        broker = Failing()
        await put(broker, [letter(number, kind=kind) for number, kind in enumerate(kinds)])
        letters = DeadLetters(broker, SOURCE, "g")
        selection = Selection(types=["B"], limit=limit)
        await (letters.replay if replay else letters.purge)(selection)
        meant = [number for number, kind in enumerate(kinds) if kind == "B"][:limit]
        stay = [number for number in range(len(kinds)) if number not in meant]
        assert await ids(letters) == [f"id-{number}" for number in stay]
        replayed = [each.id for each in await taken(broker, RETRY)]
        assert replayed == [f"id-{number}" for number in meant if replay]
        await broker.close()


def test_a_letter_that_says_nothing() -> None:
    bare = Letter(Message("t.g.dead", None))
    assert (bare.id, bare.type, bare.error, bare.attempts, bare.time, bare.origin) == (
        "",
        None,
        "",
        None,
        None,
        "",
    )
