"""What of aiormq, aio-pika's protocol layer, is used here, with types: aiormq's own are incomplete."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, MutableMapping
from typing import Any, Protocol

from aiormq.abc import ChannelFrame, DeliveredMessage
from pamqp.commands import Connection


class Link(Protocol):
    """aiormq.Connection."""

    connection_tune: Connection.Tune


class Counted(Protocol):
    """pamqp.commands.Queue.DeclareOk. A passive declare counts what is not with a consumer; and active consumers."""

    message_count: int
    consumer_count: int


class Channel(Protocol):
    """aiormq.channel.Channel.

    The last six are public there but not documented: the numbering of confirms and the queue of its socket writer.
    """

    consumers: Mapping[str, object]

    @property
    def closing(self) -> asyncio.Future[None]:
        """Done when the channel closed, by whoever; its exception tells why."""
        ...

    async def close(self) -> None:
        """channel.close."""
        ...

    async def basic_qos(self, *, prefetch_count: int) -> object:
        """basic.qos, per consumer."""
        ...

    async def basic_consume(
        self,
        queue: str,
        consumer_callback: Callable[[DeliveredMessage], Coroutine[Any, Any, None]],
        *,
        consumer_tag: str,
    ) -> object:
        """basic.consume."""
        ...

    async def basic_cancel(self, consumer_tag: str) -> object:
        """basic.cancel; what was delivered before its answer has arrived."""
        ...

    async def basic_get(self, queue: str) -> DeliveredMessage:
        """basic.get; an empty queue's answer has no delivery tag."""
        ...

    async def basic_ack(self, delivery_tag: int) -> object:
        """basic.ack."""
        ...

    async def exchange_declare(
        self, exchange: str, *, exchange_type: str = "direct", passive: bool = False, durable: bool = False
    ) -> object:
        """exchange.declare."""
        ...

    async def queue_declare(
        self,
        queue: str,
        *,
        passive: bool = False,
        durable: bool = False,
        arguments: dict[str, Any] | None = None,
    ) -> Counted:
        """queue.declare."""
        ...

    async def queue_bind(self, queue: str, exchange: str, routing_key: str) -> object:
        """queue.bind."""
        ...

    connection: Link
    number: int
    delivery_tag: int
    confirmations: MutableMapping[int, asyncio.Future[Any]]
    message_id_delivery_tag: MutableMapping[str, int]
    write_queue: asyncio.Queue[ChannelFrame]
