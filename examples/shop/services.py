"""The three services. Each is a handler class: what comes in, what goes out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

from typing_extensions import override

from eventwire import Context
from shop.orders.v1.orders_eventwire import OrdersHandler, OrdersPublisher
from shop.orders.v1.orders_pb2 import OrderCancelled, OrderCompleted, OrderPlaced
from shop.payments.v1.payments_eventwire import PaymentsHandler, PaymentsPublisher
from shop.payments.v1.payments_pb2 import Method, Money, PaymentRefused, PaymentTaken
from shop.shipping.v1.shipping_eventwire import ShippingHandler, ShippingPublisher
from shop.shipping.v1.shipping_pb2 import ParcelPacked, ParcelShipped


class ProviderUnavailable(Exception):
    """What a payment provider's client raises on a bad day."""


class Billing(OrdersHandler):
    """Takes the money for placed orders."""

    @override
    async def on_order_placed(self, event: OrderPlaced, context: Context) -> None:
        if event.total_cents != sum(line.quantity * line.unit_price_cents for line in event.lines):
            raise ValueError(f"the total of {event.order_id} is not the sum of its lines")
        luck = Random(event.order_id)
        if luck.random() < 0.05 and context.attempt == 1:
            raise ProviderUnavailable("the payment provider did not answer")
        payments = PaymentsPublisher(context)
        if luck.random() < 0.03:
            await payments.publish(PaymentRefused(order_id=event.order_id, code="insufficient_funds"))
            return
        await payments.publish(
            PaymentTaken(
                order_id=event.order_id,
                payment_id=f"pay-{event.order_id}",
                amount=Money(currency="EUR", cents=event.total_cents),
                method=Method.METHOD_CARD,
                taken_at=datetime.now(UTC),
            )
        )


class Warehouse(PaymentsHandler):
    """Packs and ships what was paid."""

    @override
    async def on_payment_taken(self, event: PaymentTaken, context: Context) -> None:
        luck = Random(event.payment_id)
        if luck.random() < 0.02 and context.attempt == 1:
            raise ConnectionError("the label printer is offline")
        parcel = f"{event.order_id}-1"
        shipping = ShippingPublisher(context)
        await shipping.publish(
            ParcelPacked(order_id=event.order_id, parcel_id=parcel, weight_grams=luck.randint(200, 4000))
        )
        await shipping.publish(
            ParcelShipped(
                order_id=event.order_id,
                parcel_id=parcel,
                carrier=luck.choice(("swift", "turtle")),
                tracking_code=f"TR{luck.randrange(10**8):08d}",
                transit_time=timedelta(days=luck.randint(1, 4)),
            )
        )


class OrderDesk(PaymentsHandler, ShippingHandler):
    """Ends orders: refused payments cancel them, shipped parcels complete them. One class, two topics."""

    @override
    async def on_payment_refused(self, event: PaymentRefused, context: Context) -> None:
        await OrdersPublisher(context).publish(
            OrderCancelled(order_id=event.order_id, reason=f"payment: {event.code}")
        )

    @override
    async def on_parcel_shipped(self, event: ParcelShipped, context: Context) -> None:
        await OrdersPublisher(context).publish(
            OrderCompleted(order_id=event.order_id, parcel_ids=[event.parcel_id])
        )


SERVICES = {"billing": Billing, "warehouse": Warehouse, "desk": OrderDesk}
