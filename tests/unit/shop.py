"""A small hand-written topic, as the generator would write it, with a codec that needs no protobuf."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from eventwire import (
    Codec,
    Context,
    Event,
    FieldKind,
    FieldPath,
    Handler,
    HeaderField,
    Ordering,
    Publisher,
    RetryPolicy,
    Sender,
    SyncHandler,
    Topic,
)

M = TypeVar("M")


@dataclass
class Placed:
    order_id: str = ""
    cents: int = 0
    tenant: str | None = None


@dataclass
class Cancelled:
    order_id: str = ""
    reason: str = ""


@dataclass
class Price:
    sku: str = ""
    cents: int = 0


def codec(cls: type[M]) -> Codec[M]:
    def encode(message: M) -> bytes:
        return json.dumps(asdict(message)).encode()  # type: ignore[call-overload]

    def decode(data: bytes) -> M:
        return cls(**json.loads(data))

    return Codec(encode, decode)


def _field(path: str) -> FieldPath[Any]:
    return FieldPath(path, FieldKind.STRING, lambda message: getattr(message, path))


PLACED: Event[Placed] = Event(
    type="shop.v1.Placed",
    full_name="shop.v1.Placed",
    message=Placed,
    codec=codec(Placed),
    handler="on_placed",
    member="placed",
    json_name="placed",
    number=1,
    key=_field("order_id"),
    headers=(HeaderField("tenant", "tenant", lambda message: message.tenant),),
)
CANCELLED: Event[Cancelled] = Event(
    type="shop.v1.Cancelled",
    full_name="shop.v1.Cancelled",
    message=Cancelled,
    codec=codec(Cancelled),
    handler="on_cancelled",
    member="cancelled",
    json_name="cancelled",
    number=2,
    key=_field("order_id"),
)
ORDERS: Topic[Placed | Cancelled] = Topic(
    name="shop.v1",
    full_name="shop.v1.Orders",
    package="shop.v1",
    events=(PLACED, CANCELLED),
    partitions=4,
    ordering=Ordering.PER_KEY,
    retry=RetryPolicy(max_attempts=3, initial_backoff=0.001, max_backoff=0.002),
)
PRICE: Event[Price] = Event(
    type="shop.v1.Price",
    full_name="shop.v1.Price",
    message=Price,
    codec=codec(Price),
    handler="on_price",
    key=_field("sku"),
)
PRICES: Topic[Price] = Topic(
    name="prices.v1",
    full_name="shop.v1.Price",
    package="shop.v1",
    events=(PRICE,),
    compact=True,
    ordering=Ordering.PER_KEY,
)


class OrdersPublisher(Publisher[Placed | Cancelled]):
    def __init__(self, sender: Sender) -> None:
        super().__init__(sender, ORDERS)


class OrdersHandler(Handler, topic=ORDERS):
    async def on_placed(self, event: Placed, context: Context) -> None:
        """Placed."""

    async def on_cancelled(self, event: Cancelled, context: Context) -> None:
        """Cancelled."""


class OrdersSyncHandler(SyncHandler, topic=ORDERS):
    def on_placed(self, event: Placed, context: Context) -> None:
        """Placed."""

    def on_cancelled(self, event: Cancelled, context: Context) -> None:
        """Cancelled."""


class PricesPublisher(Publisher[Price]):
    def __init__(self, sender: Sender) -> None:
        super().__init__(sender, PRICES)

    async def tombstone(self, key: str) -> Any:
        return await self._tombstone(key)


class PricesHandler(Handler, topic=PRICES):
    async def on_price(self, event: Price, context: Context) -> None:
        """Price."""

    async def on_tombstone(self, key: str, context: Context) -> None:
        """Gone."""
