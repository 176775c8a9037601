"""What must type-check: the public surface as users write it, with the types that they see."""

from collections.abc import AsyncIterator
from typing import assert_type

from typing_extensions import override

from eventwire import BatchReceipt, BlockingPublisher, Bus, Context, Event, Receipt, Topic, Worker
from shop.orders.v1.orders_eventwire import (
    ORDER_PLACED_EVENT,
    ORDERS,
    OrdersHandler,
    OrdersPublisher,
    OrdersSyncHandler,
)
from shop.orders.v1.orders_pb2 import CHANNEL_WEB, OrderCancelled, OrderCompleted, OrderPlaced
from shop.payments.v1.payments_eventwire import PaymentsHandler, PaymentsPublisher
from shop.payments.v1.payments_pb2 import Money, PaymentRequested, PaymentTaken

assert_type(ORDERS, Topic[OrderPlaced | OrderCancelled | OrderCompleted])
assert_type(ORDER_PLACED_EVENT, Event[OrderPlaced])


class Billing(OrdersHandler, PaymentsHandler):
    """One class for the events of two topics."""

    @override
    async def on_order_placed(self, event: OrderPlaced, context: Context) -> None:
        assert_type(event.lines[0].unit_price_cents, int)
        assert_type(event.campaign["utm_source"], str)
        amount = Money(currency="EUR", cents=event.total_cents)
        requested = PaymentRequested(order_id=event.order_id, amount=amount)
        assert_type(await PaymentsPublisher(context).publish(requested), Receipt)

    @override
    async def on_payment_taken(self, event: PaymentTaken, context: Context) -> None:
        assert_type(event.amount.cents, int)


class Mailing(OrdersSyncHandler):
    @override
    def on_order_cancelled(self, event: OrderCancelled, context: Context) -> None:
        assert_type(event.reason, str)


async def publish_many(bus: Bus, events: AsyncIterator[OrderPlaced]) -> None:
    orders = OrdersPublisher(bus)
    assert_type(await orders.publish_many(events, max_in_flight=10), BatchReceipt)
    await orders.publish_many([OrderPlaced(channel=CHANNEL_WEB), OrderCancelled(reason="late")])
    async with bus.subscribe(ORDERS, group="audit") as deliveries:
        async for delivery in deliveries:
            assert_type(delivery.event, OrderPlaced | OrderCancelled | OrderCompleted)
            delivery.ack()


def publish_blocking(bus: Bus) -> None:
    with bus.blocking() as blocking:
        orders = blocking.publisher(OrdersPublisher)
        assert_type(orders, BlockingPublisher[OrderPlaced | OrderCancelled | OrderCompleted])
        assert_type(orders.publish(OrderPlaced(order_id="42")), Receipt)


async def work(bus: Bus) -> None:
    await Worker(bus, Billing(), Mailing(), group="billing").run()
