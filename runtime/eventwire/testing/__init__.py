"""For tests: an application's own, and those of transports (`eventwire.testing.conformance`).

async with in_memory(Billing(payments)) as (bus, recorder):
    await OrdersPublisher(bus).publish(OrderPlaced(order_id="42"))
    assert recorder.published(PAYMENTS) == [PaymentRequested(order_id="42")]
"""

from __future__ import annotations

from eventwire.testing.in_memory import in_memory
from eventwire.testing.recorder import Recorder

__all__ = ["Recorder", "in_memory"]
