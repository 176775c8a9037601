"""Dead letters on real brokers: what `eventwire dlq` does must not depend on how a broker settles."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from uuid import uuid4

import pytest

from eventwire.cli import main
from eventwire.dead_letters import DeadLetters, Progress, Selection
from eventwire.errors import PublishError
from eventwire.links import make_transport
from eventwire.message import Message
from eventwire.transport import DriverOptions, TopicSpec, Transport
from tests.unit.dead_letters.support import letter, taken

pytestmark = pytest.mark.server


@pytest.fixture(params=["kafka", "amqp"])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(f"{request.param}_server").url)


@pytest.fixture
async def broker(url: str) -> AsyncGenerator[Transport]:
    made = make_transport(url, DriverOptions())
    await made.connect()
    yield made
    await made.close()


async def put(broker: Transport, count: int) -> DeadLetters:
    """Letters of two kinds in turn, in a place of their own."""
    source = TopicSpec(f"dlq.{uuid4().hex[:8]}", partitions=2, ordered=True)
    letters = DeadLetters(broker, source, "g")
    await broker.declare([source, letters.place, letters.retries], ["g"])
    prefix = broker.features.attribute_prefix
    made = [_at(letters.place, letter(number, kind="AB"[number % 2]), prefix) for number in range(count)]
    outcomes = await broker.publish_many(letters.place, made)
    assert not [each for each in outcomes if isinstance(each, PublishError)]
    return letters


def _at(place: TopicSpec, message: Message, prefix: str) -> Message:
    """As events are written there; with the id as an attribute, too, for a broker may have no other place for it."""
    _, *others = message.headers
    kind = message.header("ce_type") or b""
    own = ((f"{prefix}type", kind), (f"{prefix}id", message.id.encode()), ("number", message.id.encode()))
    return replace(message, topic=place.name, headers=(*own, *others))


async def ids(letters: DeadLetters, selection: Selection | None = None) -> list[str]:
    async with aclosing(letters.browse(selection or Selection())) as found:
        return [each.id async for each in found]


def numbers(messages: Sequence[Message]) -> list[str]:
    return [(each.header("number") or b"").decode() for each in messages]


def named(wanted: range) -> list[str]:
    return [f"id-{number}" for number in wanted]


async def test_look_replay_purge(broker: Transport) -> None:
    letters = await put(broker, 40)
    assert await ids(letters) == named(range(40))
    assert await ids(letters, Selection(types=["B"], limit=3)) == named(range(1, 6, 2))
    progress = await letters.replay(Selection(types=["B"]))
    assert (progress.total, progress.matched, progress.done) == (40, 20, 20)
    again = await taken(broker, letters.retries)
    assert numbers(again) == named(range(1, 40, 2))
    assert (again[0].body, again[0].key) == (b"body 1", b"k")
    assert again[0].header("tenant") == b"\xff\x00"
    assert again[0].header("eventwire_replayed")
    assert not [name for name, _ in again[0].headers if name.startswith("eventwire_dead_")]
    assert await ids(letters) == named(range(0, 40, 2))
    assert (await letters.purge(Selection(ids=["id-20"]))).done == 1
    assert (await letters.replay()).done == 19
    assert await letters.count() == 0


async def test_more_letters_than_a_reader_holds(broker: Transport) -> None:
    letters = await put(broker, 700)
    progress = Progress()
    async with aclosing(letters.browse(progress=progress)) as found:
        shown = [each.id async for each in found]
    assert shown == named(range(progress.seen))  # RabbitMQ shows its `prefetch`
    assert progress.total == 700
    replayed = await letters.replay(Selection(ids=["id-650"]))
    assert (replayed.seen, replayed.done) == (700, 1)
    assert numbers(await taken(broker, letters.retries)) == ["id-650"]
    assert (await letters.purge(Selection(types=["A"]))).matched == 349
    assert (await letters.replay()).done == 350
    again = numbers(await taken(broker, letters.retries))
    if broker.features.history:  # RabbitMQ puts what was in hand back behind others
        assert again == named(range(1, 700, 2))
    assert sorted(again) == sorted(named(range(1, 700, 2)))


async def test_to_source(broker: Transport) -> None:
    letters = await put(broker, 3)
    assert (await letters.replay(to_source=True)).done == 3
    source = TopicSpec(letters.topic, partitions=2, ordered=True)
    assert numbers(await taken(broker, source)) == named(range(3))


async def _prepare(url: str) -> str:
    broker = make_transport(url, DriverOptions())
    await broker.connect()
    letters = await put(broker, 5)
    await broker.close()
    return letters.topic


def test_the_command(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    topic = asyncio.run(_prepare(url))
    where = ["--broker", url, "--topic", topic, "--group", "g"]
    assert main(["dlq", "list", *where]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5
    assert main(["dlq", "replay", "--type", "A", *where]) == 0
    assert f"{topic}.g.dead: replayed 3 of 5 to {topic}.g.retry, 2 stay" in capsys.readouterr().out
    assert main(["dlq", "purge", "--all", "--yes", *where]) == 0
    assert f"{topic}.g.dead: purged 2 of 2, 0 stay" in capsys.readouterr().out
