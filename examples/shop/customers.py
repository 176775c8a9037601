"""Believable customers: orders that are the same for the same seed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random

from shop.orders.v1.orders_pb2 import Channel, OrderPlaced

_ARTICLES = {
    "TEA-EARL-GREY-100G": 790,
    "TEA-SENCHA-250G": 1450,
    "POT-CAST-IRON-1L": 4900,
    "CUP-PORCELAIN-2PC": 2250,
    "SIEVE-STEEL": 690,
    "HONEY-LINDEN-500G": 1180,
}
_NAMES = ("ada", "grace", "alan", "edsger", "barbara", "donald", "frances", "tony", "leslie", "margaret")
_TENANTS = ("acme", "globex", "initech")
_BROKEN_EVERY = 400
"""Every so many orders one has a total that its lines do not add up to: no attempt can bill it."""


def orders(count: int, seed: int) -> Iterator[OrderPlaced]:
    """So many orders, one after the other."""
    random = Random(seed)
    moment = datetime(2026, 3, 1, 8, tzinfo=UTC)
    for number in range(1, count + 1):
        moment += timedelta(seconds=random.expovariate(1 / 20))
        yield _order(number, moment, random)


def broken(count: int) -> int:
    """How many of so many orders cannot be billed."""
    return count // _BROKEN_EVERY


def _order(number: int, moment: datetime, random: Random) -> OrderPlaced:
    name = random.choice(_NAMES)
    lines = [
        OrderPlaced.Line(sku=sku, quantity=random.randint(1, 4), unit_price_cents=_ARTICLES[sku])
        for sku in random.sample(list(_ARTICLES), random.randint(1, 3))
    ]
    total = sum(line.quantity * line.unit_price_cents for line in lines)
    order = OrderPlaced(
        order_id=f"ORD-{number:06d}",
        total_cents=total + (100 if number % _BROKEN_EVERY == 0 else 0),
        email=f"{name}{random.randint(1, 999)}@example.com",
        lines=lines,
        channel=random.choice((Channel.CHANNEL_WEB, Channel.CHANNEL_APP, Channel.CHANNEL_PHONE)),
        placed_at=moment,
        tenant=random.choice(_TENANTS),
    )
    if random.random() < 0.2:
        order.campaign["utm_source"] = "newsletter"
    return order
