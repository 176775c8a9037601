"""What was delivered on one consuming channel, and how it is settled. All of it ends with the channel."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple, Protocol

from aiormq.abc import ChannelFrame, DeliveredMessage

from eventwire.message import Message
from eventwire.transport import TopicPartition
from eventwire.transports.amqp import codec, frames
from eventwire.transports.amqp.client import Channel

_log = logging.getLogger(__name__)

_BUSY = 0.005
"""Seconds until acks are tried again when the socket does not take them."""


class Delivered(NamedTuple):
    """A message as aiormq has it: its delivery tag, the consumer it came by, itself.

    `releases`: how often it was released. `deaths`: how many processes ended while they handled it alone. `single`:
    whether it is a suspect.
    """

    tag: int
    consumer: str
    raw: DeliveredMessage
    releases: int = 0
    deaths: int = 0
    single: bool = False


class Gate(Protocol):
    """What keeps deliveries back until they may be handed out."""

    @property
    def gated(self) -> Collection[str]:
        """The consumers whose every delivery goes to the gate; of the others only what is redelivered does."""
        ...

    def put(self, delivered: Delivered) -> None:
        """Keep it; hand it to `Session.admit` when its time comes."""
        ...


class AmqpDelivery:
    """One message handed to one member of a group."""

    __slots__ = ("_delivered", "_session", "attempt", "deaths", "message", "partition")

    def __init__(self, session: Session, delivered: Delivered, source: TopicPartition) -> None:
        raw = delivered.raw
        properties, redelivered, moved = raw.header.properties, bool(raw.redelivered), not raw.exchange
        self._session = session
        self._delivered = delivered
        self.partition = source.partition
        self.deaths = delivered.deaths
        self.attempt = codec.attempt(properties, redelivered=redelivered, moved=moved) + delivered.releases
        self.message: Message = codec.decode(
            source.topic, properties, raw.body, redelivered=redelivered, moved=moved
        )

    @property
    def offset(self) -> int | None:
        """None: a queue has no offsets."""
        return None

    def ack(self, error: Exception | None = None) -> None:  # noqa: ARG002 - the protocol's
        """Settle it; the broker hears of it within the commit interval."""
        self._session.ack(self._delivered)

    def release(self) -> None:
        """Have it delivered again, in its place."""
        self._session.release(self._delivered)


class Session:
    """Deliveries of one channel, from arrival to settlement.

    Acks are collected and sent together: one `multiple` up to the last delivery before which all are settled, the rest
    singly, all in one write. After `drop` nothing is sent any more: the tags mean nothing to another channel, and the
    broker delivers again. A quorum queue keeps about 32 single acks under way and the rest in its channel: those of a
    channel that ends just then come again.
    """

    def __init__(
        self,
        channel: Channel,
        sources: Mapping[str, TopicPartition],
        interval: float,
        prefetch: int,
        gate: Gate | None = None,
    ) -> None:
        self.channel = channel
        self.gate = gate
        self.last: dict[str, int] = {}
        """By consumer, the last delivery tag that arrived."""
        self.arrived = asyncio.Event()
        self._sources = sources
        self._interval = interval
        self._prefetch = prefetch
        self._batch = max(1, prefetch // 4)
        self._waiting: deque[Delivered] = deque()
        self._alone: deque[Delivered] | None = None
        self._watchers: list[asyncio.Future[None]] = []
        self._open: dict[int, Delivered] = {}
        self._acked: list[int] = []
        self._floor = 0
        self._above: set[int] = set()
        self._timer: asyncio.Handle | None = None
        self._writes: set[asyncio.Future[None]] = set()
        self._loop = asyncio.get_running_loop()

    async def on_message(self, raw: DeliveredMessage) -> None:
        """Take a message from aiormq."""
        tag, consumer, gate = raw.delivery_tag or 0, raw.consumer_tag or "", self.gate
        self.last[consumer] = tag
        delivered = Delivered(tag, consumer, raw)
        if gate is not None and (raw.redelivered or consumer in gate.gated):
            gate.put(delivered)
        else:
            self.admit(delivered)

    def admit(self, delivered: Delivered) -> None:
        """Have it handed out next after what waits; what is `single` at once, while it may be alone."""
        self._line(delivered).append(delivered)
        self.arrived.set()
        if self._watchers:
            self._loop.call_soon(self._tell)

    def _line(self, delivered: Delivered) -> deque[Delivered]:
        return self._alone if self._alone is not None and delivered.single else self._waiting

    def delivery(self, delivered: Delivered) -> AmqpDelivery:
        """The message, decoded."""
        return AmqpDelivery(self, delivered, self._sources[delivered.consumer])

    def take(self, limit: int) -> list[AmqpDelivery]:
        """Up to `limit` deliveries that arrived, in their order."""
        waiting, sources = self._waiting if self._alone is None else self._alone, self._sources
        taken = [waiting.popleft() for _ in range(min(limit, len(waiting)))]
        if not waiting:
            self.arrived.clear()
        self._open.update([(delivered.tag, delivered) for delivered in taken])
        return [AmqpDelivery(self, delivered, sources[delivered.consumer]) for delivered in taken]

    def in_hand(self) -> Iterator[Delivered]:
        """What waits to be handed out, and what was and is not settled."""
        yield from self._open.values()
        yield from self._waiting
        yield from self._alone or ()

    async def clear_of(self, place: TopicPartition) -> None:
        """Wait until nothing of the partition is in hand."""
        sources = self._sources
        await self._until(lambda: all(sources[each.consumer] != place for each in self.in_hand()))

    def is_settled(self, tag: int) -> bool:
        """Whether this delivery is in nobody's hand any more."""
        return all(each.tag != tag for each in self.in_hand())

    async def settled(self, tag: int) -> None:
        """Wait until this delivery is settled."""
        await self._until(lambda: self.is_settled(tag))

    @property
    def idle(self) -> bool:
        """Whether nothing is being handled or waits to be."""
        return not self._open and not self._waiting

    async def wanted(self, tag: int) -> None:
        """Wait until this delivery is settled, or others wait for it to be."""
        await self._until(lambda: bool(self._waiting) or self.is_settled(tag))

    async def be_alone(self) -> None:
        """Hand nothing more out but what is `single`, and wait until nothing is being handled."""
        self._alone = self._alone or deque()
        await self._until(lambda: not self._open)

    def end_alone(self) -> None:
        """Go on handing out everything."""
        if self._alone is not None:
            self._waiting.extendleft(reversed(self._alone))
            self._alone = None
        if self._waiting:
            self.arrived.set()

    async def _until(self, true: Callable[[], bool]) -> None:
        while not true():
            self._watchers.append(watcher := self._loop.create_future())
            await watcher

    def _tell(self) -> None:
        watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            if not watcher.done():
                watcher.set_result(None)

    def dispose(self, delivered: Delivered) -> None:
        """Settle what was never handed out."""
        self._open[delivered.tag] = delivered
        self.ack(delivered)

    def ack(self, delivered: Delivered) -> None:
        """Settle a delivery; after it was settled or released, or after `drop`, it does nothing."""
        if self._closes(delivered):
            self._acked.append(delivered.tag)
            if len(self._acked) == self._batch:
                self._soon(0)
            elif self._timer is None:
                self._soon(self._interval)

    def release(self, delivered: Delivered) -> None:
        """Put a delivery back where it was.

        Not by way of the broker: it would come behind what is here already, and those behind it would have to go
        back too, each with one more in its delivery count. The broker gets it back when the channel ends.
        """
        if self._closes(delivered):
            waiting = self._line(delivered)
            queue, tag = delivered.consumer, delivered.tag
            behind = (at for at, other in enumerate(waiting) if other.consumer == queue and other.tag > tag)
            waiting.insert(next(behind, len(waiting)), delivered._replace(releases=delivered.releases + 1))
            self.arrived.set()

    def _closes(self, delivered: Delivered) -> bool:
        """Whether these are the first words about this delivery."""
        if self._open.get(delivered.tag) is not delivered:
            return False
        del self._open[delivered.tag]
        if self._watchers:
            self._loop.call_soon(self._tell)
        return True

    def drop(self) -> None:
        """The channel is gone: forget everything."""
        if self._timer:
            self._timer.cancel()
        for write in self._writes:
            write.cancel()
        for kept in (self._waiting, self._open, self._acked):
            kept.clear()
        self._alone = None
        self.arrived.set()

    async def flush(self) -> None:
        """Return when the broker settled everything so far, or the channel is gone. Cancelling unsends nothing."""
        write = asyncio.ensure_future(self._write(self._settlements()))
        self._writes.add(write)
        write.add_done_callback(self._forget)
        await asyncio.wait({write})

    async def _write(self, payload: bytes) -> None:
        """Send, and ask something behind it: RabbitMQ drops acks that its channel has not read when a client leaves."""
        if payload:
            await self.channel.write_queue.put(ChannelFrame(payload, should_close=False))
        await self.channel.basic_qos(prefetch_count=self._prefetch)

    def _forget(self, write: asyncio.Future[None]) -> None:
        self._writes.discard(write)
        if not write.cancelled() and (error := write.exception()):
            _log.debug("acks not sent, their messages are delivered again: %r", error)

    def _soon(self, delay: float) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = (
            self._loop.call_later(delay, self._settle) if delay else self._loop.call_soon(self._settle)
        )

    def _settle(self) -> None:
        self._timer = None
        queue: asyncio.Queue[ChannelFrame] = self.channel.write_queue
        if queue.full():
            self._soon(_BUSY)
        elif payload := self._settlements():
            with suppress(asyncio.QueueFull):
                queue.put_nowait(ChannelFrame(payload, should_close=False))

    def _settlements(self) -> bytes:
        """The frames that settle what was settled since the last call, and remember it as sent."""
        if not self._acked:
            return b""
        number, acked = self.channel.number, sorted(self._acked)
        self._acked = []
        self._above.update(acked)
        while self._floor + 1 in self._above:
            self._floor += 1
            self._above.remove(self._floor)
        prefix = [tag for tag in acked if tag <= self._floor]
        parts = [frames.ack(number, prefix[-1], multiple=True)] if prefix else []
        parts += [frames.ack(number, tag) for tag in acked[len(prefix) :]]
        return b"".join(parts)
