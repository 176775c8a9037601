"""Bar 20: what was never declared, or is deleted in use, is told by a typed error. Nothing is lost silently."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aio_pika
import pytest
from aiokafka.admin import AIOKafkaAdminClient

from eventwire.bus import Bus
from eventwire.context import Context
from eventwire.errors import BrokerError, PublishError, TopicMissing
from eventwire.transport import TopicSpec
from eventwire.transports.amqp import names
from eventwire.transports.kafka.names import kafka_name
from eventwire.url import BrokerUrl
from eventwire.worker import Worker
from shop.orders.v1.orders_pb2 import OrderPlaced
from tests.chaos.handlers import handler_of
from tests.chaos.journal import Step
from tests.chaos.report import Figures
from tests.chaos.scene import Scene, order, step_of
from tests.chaos.waiting import until

LOUD = 10.0
"""Seconds within which a consumer that lost its topic works again or says so."""
TRIES = 5
Destroy = Callable[[Scene], Awaitable[None]]


@asynccontextmanager
async def amqp_channel(scene: Scene) -> AsyncGenerator[Any]:
    connection = await aio_pika.connect(scene.url)
    async with connection:
        yield await connection.channel()


async def no_topic(scene: Scene, *specs: TopicSpec) -> None:
    """Delete Kafka topics; return when the broker says that they are gone."""
    gone = {kafka_name(spec.name) for spec in specs or (scene.spec,)}
    hosts = [host.address(9092) for host in BrokerUrl.parse(scene.url).hosts]
    admin = AIOKafkaAdminClient(bootstrap_servers=hosts)
    await admin.start()
    try:
        await admin.delete_topics(list(gone))
        async with asyncio.timeout(30):
            while gone & {each["topic"] for each in await admin.describe_topics()}:  # noqa: ASYNC110 - Kafka's to say
                await asyncio.sleep(0.05)
    finally:
        await admin.close()


async def no_exchange(scene: Scene, *specs: TopicSpec) -> None:
    """Delete RabbitMQ exchanges."""
    async with amqp_channel(scene) as channel:
        for spec in specs or (scene.spec,):
            await channel.exchange_delete(names.exchange(spec))


async def no_queues(scene: Scene) -> None:
    """Delete the group's queues."""
    async with amqp_channel(scene) as channel:
        for queue in names.queues(scene.spec, scene.group):
            await channel.queue_delete(queue)


async def no_file(scene: Scene) -> None:
    """Delete the database."""
    file = path_of(scene)
    for each in file.parent.glob(f"{file.name}*"):
        each.unlink()


async def another_file(scene: Scene) -> None:
    """Put another database, where the topic is declared too, in its place."""
    file = path_of(scene)
    other = file.with_name("other.db")
    async with Bus(f"sqlite:///{other}", declare=True) as bus:
        await bus.declare(scene.topic, groups=[scene.group])
    await no_file(scene)
    other.rename(file)


def path_of(scene: Scene) -> Path:
    return Path("/" + BrokerUrl.parse(scene.url).path.lstrip("/"))


class Seen:
    """What handlers have seen."""

    def __init__(self) -> None:
        self.steps: set[Step] = set()

    async def handle(self, event: OrderPlaced, context: Context) -> None:
        self.steps.add(step_of(event))


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.bar(20, "topic, exchange, queues or file deleted while publishers and workers use them")
@pytest.mark.parametrize(
    ("broker", "destroy"),
    [
        ("sqlite", no_file),
        ("sqlite", another_file),
        pytest.param("kafka", no_topic, marks=pytest.mark.server),
        pytest.param("amqp", no_exchange, marks=pytest.mark.server),
        pytest.param("amqp", no_queues, marks=pytest.mark.server),
    ],
    indirect=["broker"],
)
async def test_what_is_deleted_in_use_is_told_and_mended(
    url: str, tmp_path: Path, destroy: Destroy, figures: Figures
) -> None:
    """A group whose exchange is gone still has its queues: its publishers are told, and declaring again is enough."""
    scene = Scene(url, str(tmp_path), partitions=2, bus={"publish_timeout": 5.0})
    seen, confirmed = Seen(), set[Step]()
    async with scene.open() as bus, working(scene, seen) as worker:
        await bus.declare(scene.topic, groups=[scene.group])
        await bus.publish(scene.topic, order(Step("before", 0)))
        await until(lambda: Step("before", 0) in seen.steps, 30, "the first event is handled")
        await destroy(scene)
        began = time.monotonic()
        errors = [await tried(bus, scene, Step("after", number), confirmed) for number in range(TRIES)]
        if destroy is no_exchange:
            await bus.declare(scene.topic, groups=[scene.group])
            errors.append(await tried(bus, scene, Step("mended", 0), confirmed))
        await until(
            lambda: worker.done() or (bool(confirmed) and confirmed <= seen.steps),
            LOUD,
            lambda: (
                f"healing, or an error: publishes gave {errors}, confirmed and not handled {confirmed - seen.steps}"
            ),
        )
        told, failure = time.monotonic() - began, worker.exception() if worker.done() else None
        assert worker.done() == isinstance(failure, BrokerError), f"it ended with {failure!r}, no BrokerError"
        assert not confirmed or destroy not in {no_file, another_file}, (
            "lost: confirmed, in a file that nobody opens"
        )
        assert confirmed <= seen.steps, f"lost: confirmed, and never handled: {confirmed - seen.steps}"
    await mended(scene)
    figures.events, figures.faults = TRIES + 2, (destroy.__doc__ or "").splitlines()[0]
    figures.note(f"publish: {errors[0]}; worker: {failure or 'healed'}"[:160])
    figures.note(f"told after {told:.1f} s of {LOUD:g}")


@asynccontextmanager
async def working(scene: Scene, seen: Seen) -> AsyncGenerator[asyncio.Task[None]]:
    """A worker with a bus of its own, in a task."""
    worker = Worker(scene.open(), handler_of(scene.topic, seen.handle), group=scene.group)
    task = asyncio.create_task(worker.run())
    try:
        yield task
    finally:
        worker.stop()
        await asyncio.wait([task], timeout=30)
        assert task.done(), "hangs: the worker does not end"


async def tried(bus: Bus, scene: Scene, step: Step, confirmed: set[Step]) -> str:
    """Publish; the error's name, for any but a typed one goes through."""
    try:
        async with asyncio.timeout(6):
            await bus.publish(scene.topic, order(step))
    except (PublishError, BrokerError) as error:
        return type(error).__name__
    confirmed.add(step)
    return "confirmed"


async def mended(scene: Scene) -> None:
    """Declared again it works, for who starts now."""
    seen, last = Seen(), Step("again", 0)
    async with scene.open() as bus:
        await bus.declare(scene.topic, groups=[scene.group])
        async with working(scene, seen):
            await bus.publish(scene.topic, order(last))
            await until(lambda: last in seen.steps, 30, "an event published after declaring again is handled")


@pytest.mark.bar(20, "topic, group or dead letter that was never declared")
@pytest.mark.parametrize(
    "broker",
    [
        "sqlite",
        pytest.param("kafka", marks=pytest.mark.server),
        pytest.param("amqp", marks=pytest.mark.server),
    ],
    indirect=True,
)
async def test_what_was_never_declared_is_told_at_once(url: str, tmp_path: Path, figures: Figures) -> None:
    scene, seen = Scene(url, str(tmp_path), partitions=2), Seen()
    figures.events, figures.faults = 2, "nothing declared"
    async with Bus(url) as bus:
        with pytest.raises(TopicMissing, match=scene.topic_name):
            await bus.publish(scene.topic, order(Step("k", 0)))
        with pytest.raises(TopicMissing, match=scene.topic_name):
            await Worker(bus, handler_of(scene.topic, seen.handle), group=scene.group).run()
        await bus.declare(scene.topic)  # neither a group nor its dead letter
        with pytest.raises(TopicMissing, match=scene.group):
            await Worker(bus, handler_of(scene.topic, seen.handle), group=scene.group).run()


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.bar(20, "dead letter deleted while events need it")
@pytest.mark.parametrize(
    ("broker", "destroy"),
    [
        pytest.param("kafka", no_topic, marks=pytest.mark.server),
        pytest.param("amqp", no_exchange, marks=pytest.mark.server),
    ],
    indirect=["broker"],
)
async def test_a_dead_letter_that_was_deleted_is_waited_for(
    url: str, tmp_path: Path, destroy: Any, figures: Figures, caplog: pytest.LogCaptureFixture
) -> None:
    scene = Scene(url, str(tmp_path), partitions=1, retry={"max_attempts": 1})

    async def fail(event: OrderPlaced, context: Context) -> None:
        raise ValueError("always")

    worker = Worker(scene.open(), handler_of(scene.topic, fail), group=scene.group)
    async with scene.open() as bus, worker:
        await destroy(scene, scene.dead)
        await bus.publish(scene.topic, order(Step("k", 0)))
        with caplog.at_level(logging.ERROR):
            await until(lambda: "attempt 2 to publish failed" in caplog.text, 60, "it is tried again")
        assert not worker.counts.settled, "lost: settled without a dead letter"
        await bus.transport(scene.topic).declare([scene.dead], [])
        await until(lambda: worker.counts.dead_lettered == 1, 60, "the dead letter is published")
    figures.events, figures.faults = 1, "dead letter deleted, declared again"
