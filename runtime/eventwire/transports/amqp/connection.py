"""Connecting, opening channels and closing, each within a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

import aio_pika
import aiormq
from aio_pika.connection import make_url
from aiormq.connection import TransportFactory
from aiormq.exceptions import (
    AMQPError,
    AuthenticationError,
    ChannelAccessRefused,
    ConnectionNotAllowed,
    InvalidFrameError,
    ProbableAuthenticationError,
)

from eventwire import tls
from eventwire.driver_logs import TypesOnly
from eventwire.errors import BrokerError, TopicMismatch, TopicMissing, Unreachable
from eventwire.transports import DECLARE_IT
from eventwire.transports.amqp.client import Channel
from eventwire.transports.amqp.settings import Settings
from eventwire.url import Host

_CLIENT_ERRORS = (AMQPError, OSError, RuntimeError)  # ChannelInvalidStateError is a RuntimeError
REFUSED = (AuthenticationError, ProbableAuthenticationError, ConnectionNotAllowed, ChannelAccessRefused)
"""Refusals that trying again does not change."""
_TALKATIVE = logging.getLogger("aiormq.connection")
_FILTER = TypesOnly()
_FRAMES = 256
"""Frames that wait between aiormq's socket reader and a channel; its default of 10 switches tasks for every few."""
_RETRY = 0.2
_ALMOST = 0.5
"""Seconds that an attempt to connect which nobody waits for any more may still take."""
_DIAGNOSED_WITHIN = 1.0


async def dial(
    settings: Settings, arguments: Mapping[str, Any], transport: TransportFactory | None = None
) -> aio_pika.Connection:
    """Connect to the first host that answers, trying each once. Raises Unreachable within `connect_timeout`."""
    if transport:
        arguments = {**arguments, "transport_factory": transport}
    deadline = asyncio.get_running_loop().time() + settings.connect_timeout
    return await _dial(settings, arguments, deadline)


async def redial(settings: Settings, arguments: Mapping[str, Any]) -> aio_pika.Connection:
    """Connect again after a loss: go round the hosts until `connect_timeout` is over, then raise Unreachable."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + settings.connect_timeout
    while True:
        try:
            return await _dial(settings, arguments, deadline)
        except Unreachable as error:
            if isinstance(error.__cause__, REFUSED) or loop.time() + _RETRY >= deadline:
                raise
        await asyncio.sleep(_RETRY)


async def _dial(settings: Settings, arguments: Mapping[str, Any], deadline: float) -> aio_pika.Connection:
    loop = asyncio.get_running_loop()
    failures: list[str] = []
    cause: BaseException | None = None
    for left, host in zip(range(len(settings.hosts), 0, -1), settings.hosts, strict=True):
        share = max(deadline - loop.time(), 0.0) / left
        try:
            return await _attempt(settings, arguments, host, share)
        except TimeoutError as error:
            cause = error
            failures.append(f"{settings.address(host)}: no answer within {share:.1f} s")
        except BrokerError as error:
            cause = error.__cause__
            failures.append(f"{error}{await _advice(settings, host, str(error))}")
    raise Unreachable(f"no connection to RabbitMQ: {'; '.join(failures)}") from cause


async def _attempt(
    settings: Settings, arguments: Mapping[str, Any], host: Host, within: float
) -> aio_pika.Connection:
    """Connect to one host. Who is cancelled meanwhile leaves no connection behind."""
    async with AsyncExitStack() as undo:
        async with asyncio.timeout(within), calling(settings.address(host)):
            connection = await _connect(settings, arguments, host)
            undo.push_async_callback(connection.close)
        undo.pop_all()
        return connection


async def _advice(settings: Settings, host: Host, reason: str) -> str:
    """What to do about it, where it is about TLS."""
    if settings.url.scheme == "amqps":
        text = tls.advice(reason, authority="cafile", plain="amqp")
    else:
        reset = "reset" in reason  # what RabbitMQ does to who speaks no TLS
        told = reset and await tls.speaks(host.name, settings.port(host), _DIAGNOSED_WITHIN)
        text = "this port speaks TLS: use `amqps://`" if told else ""
    return text and f": {text}"


async def _connect(settings: Settings, arguments: Mapping[str, Any], host: Host) -> aio_pika.Connection:
    _TALKATIVE.addFilter(_FILTER)  # again changes nothing
    options = dict(arguments)
    objects = {name: options.pop(name) for name in ("ssl_context", "client_properties") if name in options}
    transport = options.pop("transport_factory", None)
    connection = aio_pika.Connection(make_url(host=host.name, port=settings.port(host), **options), **objects)
    if transport:
        connection.kwargs["transport_factory"] = transport
    connecting = asyncio.ensure_future(connection.connect())
    try:
        await asyncio.shield(connecting)
    except asyncio.CancelledError:
        await asyncio.wait(
            {connecting}, timeout=_ALMOST
        )  # aio-pika cancelled on its last steps leaks the connection
        if not connecting.cancel() and not connecting.cancelled():
            connecting.exception()  # told to nobody
        await connection.close()
        raise
    except InvalidFrameError as error:
        await connection.close()
        if "Connection.OpenOk" not in str(error):
            raise
        raise InvalidFrameError(  # instead of opening it RabbitMQ closed; aiormq drops the text that says why
            f"RabbitMQ refused vhost `{settings.vhost}`: there is none of this name, "
            "this user may not use it, or it is down"
        ) from error
    except BaseException:
        await connection.close()
        raise
    return connection


async def open_channel(connection: aio_pika.Connection, *, confirms: bool = False) -> Channel:
    """Open a channel at aiormq's level: aio-pika's wrappers cost a task and a dozen callbacks per message."""
    if connection.transport is None:
        raise aiormq.ChannelInvalidStateError("the connection is closed")
    channel = await connection.transport.connection.channel(
        publisher_confirms=confirms, on_return_raises=True, frame_buffer_size=_FRAMES
    )
    return cast("Channel", channel)


async def hang_up(connection: aio_pika.Connection, within: float) -> None:
    """Close a connection, politely when the broker answers in time."""
    closing = asyncio.ensure_future(connection.close())
    await asyncio.wait({closing}, timeout=within)
    closing.cancel()
    await asyncio.wait({closing}, timeout=_RETRY)


def _require_going(task: asyncio.Task[Any] | None, before: int) -> None:
    if task and task.cancelling() > before:
        raise asyncio.CancelledError


@asynccontextmanager
async def calling(doing: str) -> AsyncGenerator[None, None]:
    """Turn what the client raises while `doing` something into BrokerError.

    aiormq also cancels its callers when a connection ends, which is no cancellation of our task; and where it closes
    things it swallows those that are, or puts its own error in their place.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    try:
        yield
        _require_going(task, before)
    except asyncio.CancelledError as error:
        if task is None or task.cancelling() > before:
            raise
        raise BrokerError(f"{doing}: the connection was lost") from error
    except Exception as error:
        _require_going(task, before)
        if (
            isinstance(error, _CLIENT_ERRORS) or type(error) is Exception
        ):  # aiormq raises Exception itself, too
            raise _broker_error(error, doing) from error
        raise


def _reason(error: BaseException | None) -> str:
    """An error of the client as text without its class's boilerplate."""
    return (
        " ".join(str(part) for part in error.args) if error is not None and error.args else str(error or "")
    )


def _broker_error(error: Exception, doing: str) -> BrokerError:
    """The typed error for what the broker answered while `doing` something."""
    text = f"{doing}: {_reason(error) or type(error).__name__}"
    if isinstance(error, aiormq.exceptions.ChannelNotFoundEntity):
        return TopicMissing(f"{text}; {DECLARE_IT}")
    if isinstance(error, aiormq.exceptions.ChannelPreconditionFailed):
        return TopicMismatch(text)
    return BrokerError(text)
