"""What must type-check of the outbox."""

from datetime import datetime
from typing import assert_type

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from eventwire import Bus, Context
from eventwire.outbox import Lag, Outbox, Relay, RelayHealth, Tables
from shop.orders.v1.orders_eventwire import ORDERS
from shop.orders.v1.orders_pb2 import OrderCancelled, OrderCompleted, OrderPlaced
from shop.payments.v1.payments_eventwire import PAYMENTS
from shop.payments.v1.payments_pb2 import PaymentRefused, PaymentRequested, PaymentTaken


def of_one_topic(bus: Bus, session: Session) -> None:
    outbox = Outbox(bus, ORDERS)
    assert_type(outbox, Outbox[OrderPlaced | OrderCancelled | OrderCompleted])
    assert_type(outbox.add(session, OrderPlaced(order_id="42")), str)
    assert_type(outbox.lag(session), Lag)


async def of_two_topics(bus: Bus, session: AsyncSession, context: Context, due: datetime) -> None:
    outbox = Outbox(bus, ORDERS, PAYMENTS, tables=Tables(prefix="shop_"))
    assert_type(
        outbox,
        Outbox[
            OrderPlaced | OrderCancelled | OrderCompleted | PaymentRequested | PaymentTaken | PaymentRefused
        ],
    )
    outbox.add(session, OrderCancelled(), headers={"tenant": "acme"}, id="mine")
    outbox.add(session, PaymentTaken(), deliver_at=due, cause=context)
    narrower: Outbox[OrderPlaced] = outbox
    narrower.add(session, OrderPlaced())


async def relays(bus: Bus, engine: AsyncEngine) -> None:
    async with Relay(bus, engine, batch=100) as relay:
        assert_type(relay.health(), RelayHealth)
        assert_type(await relay.lag(), Lag)
