"""What must not type-check. `# wrong: CODE RULE` names mypy's code and pyright's rules at the line that both mark."""

from eventwire import Bus, Context, Worker
from shop.orders.v1.orders_eventwire import ORDERS, OrdersHandler, OrdersPublisher, OrdersSyncHandler
from shop.orders.v1.orders_pb2 import OrderCancelled, OrderPlaced
from shop.payments.v1.payments_pb2 import PaymentTaken
from typing_extensions import override


async def publishes(bus: Bus, context: Context) -> None:
    orders = OrdersPublisher(bus)
    await orders.publish(PaymentTaken(order_id="42"))  # wrong: arg-type reportArgumentType
    await orders.publish("an order")  # wrong: arg-type reportArgumentType
    await orders.publish_many([PaymentTaken()])  # wrong: list-item reportArgumentType
    await OrdersPublisher(context).publish(OrderPlaced, headers={})  # wrong: arg-type reportArgumentType
    await orders.publish(OrderPlaced(), headers={"tenant": 1})  # wrong: dict-item reportArgumentType
    OrdersPublisher("kafka://localhost:9092")  # wrong: arg-type reportArgumentType
    bus.blocking().publisher(OrdersPublisher).publish(PaymentTaken())  # wrong: arg-type reportArgumentType


def builds() -> OrderPlaced:
    OrderPlaced(order_id=42)  # wrong: arg-type reportArgumentType
    OrderPlaced(order_nr="42")  # wrong: call-arg reportCallIssue
    OrderPlaced(channel=1)  # wrong: arg-type reportArgumentType
    return OrderCancelled()  # wrong: return-value reportReturnType


class WrongEvent(OrdersHandler):
    @override
    async def on_order_placed(self, event: OrderCancelled, context: Context) -> None:  # wrong: override reportIncompatibleMethodOverride
        """Of another event."""


class NoEvent(OrdersHandler):
    @override
    async def on_order_paid(self, event: OrderPlaced, context: Context) -> None:  # wrong: misc reportGeneralTypeIssues
        """Of no event."""


class NotAsync(OrdersHandler):
    @override
    def on_order_placed(self, event: OrderPlaced, context: Context) -> None:  # wrong: override reportIncompatibleMethodOverride
        """A handler is a coroutine function."""


class NotSync(OrdersSyncHandler):
    @override
    async def on_order_placed(self, event: OrderPlaced, context: Context) -> None:  # wrong: override reportIncompatibleMethodOverride
        """A synchronous handler is none."""


async def reads(bus: Bus) -> None:
    async with bus.subscribe(ORDERS, group="audit") as deliveries:
        async for delivery in deliveries:
            delivery.event.order_nr  # wrong: union-attr reportAttributeAccessIssue reportUnknownMemberType
    Worker(bus, OrdersPublisher(bus), group="billing")  # wrong: arg-type reportArgumentType
