"""What must not type-check of the outbox."""

from eventwire import Bus
from eventwire.outbox import Outbox, Relay
from shop.orders.v1.orders_eventwire import ORDERS
from shop.orders.v1.orders_pb2 import OrderPlaced
from shop.payments.v1.payments_eventwire import PAYMENTS
from shop.payments.v1.payments_pb2 import Money, PaymentTaken
from sqlalchemy import Engine
from sqlalchemy.orm import Session


def records(bus: Bus, session: Session) -> Outbox[OrderPlaced | PaymentTaken]:
    outbox = Outbox(bus, ORDERS)
    outbox.add(session, PaymentTaken())  # wrong: arg-type reportArgumentType
    outbox.add(session, OrderPlaced)  # wrong: arg-type reportArgumentType
    outbox.add("session", OrderPlaced())  # wrong: arg-type reportArgumentType
    outbox.add(session, OrderPlaced(), deliver_at=3.0)  # wrong: arg-type reportArgumentType
    outbox.add(session, OrderPlaced(), headers={"tenant": 1})  # wrong: dict-item reportArgumentType
    Outbox(bus, ORDERS, PAYMENTS).add(session, Money())  # wrong: arg-type reportArgumentType
    return outbox  # wrong: return-value reportReturnType


def relays(bus: Bus, engine: Engine) -> None:
    Relay(bus, engine)  # wrong: arg-type reportArgumentType
