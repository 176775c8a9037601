import asyncio
from asyncio import Future
from collections.abc import AsyncGenerator

import pytest
from aiokafka.errors import (
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
    ProducerClosed,
    TopicAuthorizationFailedError,
)
from aiokafka.structs import RecordMetadata
from aiokafka.structs import TopicPartition as KafkaPartition
from typing_extensions import override

from eventwire.errors import (
    Closed,
    InvalidEvent,
    PublishError,
    PublishFailed,
    PublishUnknown,
    TooLarge,
    TopicMissing,
    Unreachable,
)
from eventwire.message import Message, Receipt
from eventwire.transport import TopicSpec
from eventwire.transports.kafka.faults import publish_error
from eventwire.transports.kafka.producer import Producer, Publisher

_TOPIC = TopicSpec("t", partitions=4, ordered=True)


class Scripted(Producer):
    """A producer whose batches the test settles."""

    def __init__(self) -> None:
        super().__init__(enable_idempotence=True)
        self.sent: list[Future[RecordMetadata]] = []
        self.refusal: KafkaError | None = None
        self.known = {"t": 4}
        self.halts = 0

    def partitions(self, name: str) -> int:
        return self.known.get(name, 0)

    async def refresh(self) -> None:
        await asyncio.sleep(0)

    @override
    async def send(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
        headers: list[tuple[str, bytes]] | None = None,
    ) -> Future[RecordMetadata]:
        if self.refusal:
            raise self.refusal
        self.sent.append(asyncio.get_running_loop().create_future())
        return self.sent[-1]

    async def halt(self) -> None:
        self.halts += 1
        for future in self.sent:
            if not future.done():
                future.set_exception(ProducerClosed())
        await super().halt()

    async def finish(self) -> None:
        await self.halt()

    def confirm(self, index: int, offset: int = 0) -> None:
        self.sent[index].set_result(RecordMetadata("t", 1, KafkaPartition("t", 1), offset, None, 0, None))


class Bench:
    """A publisher and the producers it made."""

    def __init__(self) -> None:
        self.made: list[Scripted] = []
        self.publisher = Publisher(self.connect)
        self.refusal: Unreachable | None = None

    async def connect(self) -> Producer:
        await asyncio.sleep(0)
        if self.refusal:
            raise self.refusal
        self.made.append(Scripted())
        return self.made[-1]

    async def publishing(self, count: int = 1) -> list[asyncio.Task[Receipt]]:
        """Publishes that wait for their batch."""
        before = sum(len(producer.sent) for producer in self.made)
        tasks = [asyncio.create_task(self.publisher.publish(_TOPIC, message(n))) for n in range(count)]
        await self.sent(before + count)
        return tasks

    async def sent(self, count: int) -> None:
        """Until so many messages wait for their batch."""
        while sum(len(producer.sent) for producer in self.made) < count:  # noqa: ASYNC110 - one turn of the loop each
            await asyncio.sleep(0)


def message(number: int = 0, topic: str = "t") -> Message:
    return Message(topic, b"body", b"%d" % number, id=str(number))


@pytest.fixture
async def bench() -> AsyncGenerator[Bench]:
    made = Bench()
    yield made
    await made.publisher.close()


async def test_a_receipt_says_where(bench: Bench) -> None:
    one, two = await bench.publishing(2)
    bench.made[0].confirm(0, 7)
    bench.made[0].confirm(1, -1)
    assert await one == Receipt("t", "0", 1, 7)
    assert (await two).offset is None, "a duplicate that the broker knew already has no offset"
    assert len(bench.made) == 1


async def test_after_a_failed_batch_the_producer_is_replaced_once(bench: Bench) -> None:
    tasks = await bench.publishing(3)
    failed = bench.made[0]
    failed.sent[0].set_exception(OutOfOrderSequenceNumber())
    failed.sent[1].set_exception(OutOfOrderSequenceNumber())
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [PublishUnknown] * 3
    assert isinstance(outcomes[0], PublishError)
    assert isinstance(outcomes[0].__cause__, OutOfOrderSequenceNumber)
    assert outcomes[0].id == "0"
    (task,) = await bench.publishing()
    bench.made[1].confirm(0)
    await task
    assert [producer.halts for producer in bench.made] == [1, 0]


async def test_a_message_that_is_refused_leaves_the_producer(bench: Bench) -> None:
    (task,) = await bench.publishing()
    producer = bench.made[0]
    for error, kind in ((MessageSizeTooLargeError(), TooLarge), (KafkaTimeoutError(), PublishUnknown)):
        producer.refusal = error
        with pytest.raises(kind):
            await bench.publisher.publish(_TOPIC, message(1))
    producer.confirm(0)
    await task
    assert producer.halts == 0


async def test_a_cancelled_publish_leaves_the_others(bench: Bench) -> None:
    one, two = await bench.publishing(2)
    one.cancel()
    await asyncio.wait([one])
    bench.made[0].confirm(1, 5)
    assert (await two).offset == 5


async def test_every_message_of_a_batch_has_its_outcome(bench: Bench) -> None:
    messages = [message(0), Message("t", None), message(2), message(3)]
    publishing = asyncio.create_task(bench.publisher.publish_many(_TOPIC, messages))
    await bench.sent(3)
    bench.made[0].confirm(0)
    bench.made[0].sent[1].set_exception(TopicAuthorizationFailedError("t"))
    bench.made[0].confirm(2, 9)
    outcomes = await publishing
    assert [type(outcome) for outcome in outcomes] == [Receipt, InvalidEvent, PublishFailed, Receipt]
    assert [outcome.id for outcome in outcomes] == ["0", "", "2", "3"]


async def test_a_cancelled_batch_leaves_no_exception_behind(bench: Bench) -> None:
    publishing = asyncio.create_task(bench.publisher.publish_many(_TOPIC, [message(0), message(1)]))
    await bench.sent(2)
    publishing.cancel()
    await asyncio.wait([publishing])
    assert all(future.cancelled() for future in bench.made[0].sent)


async def test_a_missing_topic_is_looked_up_again(bench: Bench) -> None:
    other = TopicSpec("later")
    with pytest.raises(PublishFailed) as failure:
        await bench.publisher.publish(other, message(topic="later"))
    assert isinstance(failure.value.__cause__, TopicMissing)
    bench.made[0].known["later"] = 1
    publishing = asyncio.create_task(bench.publisher.publish(other, message(topic="later")))
    await bench.sent(1)
    bench.made[0].confirm(0)
    await publishing


async def test_without_a_broker_nothing_was_sent(bench: Bench) -> None:
    bench.refusal = Unreachable("nobody there")
    with pytest.raises(PublishFailed, match="nobody there"):
        await bench.publisher.publish(_TOPIC, message())


async def test_closed_while_connecting(bench: Bench) -> None:
    task = asyncio.create_task(bench.publisher.publish(_TOPIC, message()))
    await asyncio.sleep(0)
    await bench.publisher.close()
    with pytest.raises(Closed):
        await task
    assert [producer.halts for producer in bench.made] == [1]


def test_an_error_of_the_table_is_known_not_to_be_written() -> None:
    assert isinstance(publish_error(TopicAuthorizationFailedError("t"), message()), PublishFailed)
    assert isinstance(publish_error(OutOfOrderSequenceNumber(), message()), PublishUnknown)
    assert "OutOfOrderSequenceNumber" in str(publish_error(OutOfOrderSequenceNumber(), message()))
