"""Handlers on a bus in memory, for an application's own tests."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from eventwire.bus import Bus
from eventwire.handler import AnyHandler, HandlerFactory
from eventwire.links import make_transport
from eventwire.policy import RetryPolicy
from eventwire.route import Validator
from eventwire.testing.recorder import Recorder
from eventwire.transport import DriverOptions
from eventwire.worker import Worker

_URL = "memory://?inline=true"
_ONCE = RetryPolicy(max_attempts=1)


@asynccontextmanager
async def in_memory(
    *handlers: AnyHandler | HandlerFactory,
    group: str = "test",
    retry: RetryPolicy = _ONCE,
    validate: Validator | None = None,
) -> AsyncGenerator[tuple[Bus, Recorder]]:
    """A bus of its own, these handlers working on it, and a recorder of all that is published.

        async with in_memory(Billing(payments)) as (bus, recorder):
            await OrdersPublisher(bus).publish(OrderPlaced(order_id="42"))
            assert recorder.published(PAYMENTS) == [PaymentRequested(order_id="42")]

    A publish returns when the handlers are done with the event, and with what they published because of it; it raises
    the first error that a handler gave up with. So nothing has to be waited for. By default there is one attempt.
    """
    recorder = Recorder(make_transport(_URL, DriverOptions()).features)
    async with Bus(_URL, declare=True, validate=validate, middleware=[recorder]) as bus:
        if not handlers:
            yield bus, recorder
            return
        async with Worker(bus, *handlers, group=group, retry=retry):
            yield bus, recorder
