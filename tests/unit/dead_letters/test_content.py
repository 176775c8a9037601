from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from eventwire.dead_letters import Letter
from eventwire.dead_letters.content import MASK, content_of, mask, masked_key
from eventwire.message import Message
from eventwire.middleware.dead_letter import POINTER
from eventwire.topic import Event, FieldPath
from eventwire.transport import DriverOptions
from eventwire.transports.memory import MemoryTransport
from eventwire.url import BrokerUrl
from shop.orders.v1.orders_eventwire import ORDER_PLACED_EVENT, ORDERS
from shop.orders.v1.orders_pb2 import OrderPlaced
from shop.shipping.v1.shipping_pb2 import DESCRIPTOR as SHIPPING
from tests.unit.shop import ORDERS as PLAIN_ORDERS

FEATURES = MemoryTransport(BrokerUrl.parse("memory://"), DriverOptions()).features
SECRET = "ada@example.com"  # noqa: S105 no password


def placed(body: bytes, *, kind: str = "shop.orders.v1.OrderPlaced") -> Letter:
    attributes = {"specversion": "1.0", "id": "1", "source": "/shop", "type": kind}
    headers = tuple((f"ce_{name}", value.encode()) for name, value in attributes.items())
    return Letter(Message("dead", body, b"42", headers, "application/protobuf", "1"))


def test_an_event_is_shown_as_protojson_without_what_is_redacted() -> None:
    order = OrderPlaced(order_id="42", total_cents=1999, email=SECRET)
    content = content_of(placed(order.SerializeToString()), ORDERS, FEATURES)
    assert content.event == {"orderId": "42", "totalCents": "1999", "email": MASK}
    assert content.type == "shop.orders.v1.OrderPlaced"


@pytest.mark.parametrize(
    ("letter", "why"),
    [
        (placed(b"\xff" + SECRET.encode()), "the data is no shop.orders.v1.OrderPlaced"),
        (placed(b"", kind="shop.orders.v1.Nope"), "`shop.orders.v1.Nope` is no event type known here"),
        (Letter(Message("dead", SECRET.encode())), "no CloudEvents attributes"),
        (Letter(Message("dead", None)), "not compacted"),
    ],
)
def test_what_cannot_be_read_is_a_secret_where_any_event_has_one(letter: Letter, why: str) -> None:
    content = content_of(letter, ORDERS, FEATURES)
    assert (content.event, content.secret) == (None, True)
    assert why in content.why
    assert SECRET not in content.why


def test_a_pointer_has_no_event() -> None:
    pointer = Letter(Message("dead", b"{}", content_type=POINTER))
    assert "too large" in content_of(pointer, ORDERS, FEATURES).why


def test_messages_of_another_library_are_named() -> None:
    letter = placed(json.dumps({"order_id": "1"}).encode(), kind="shop.v1.Placed")
    content = content_of(letter, PLAIN_ORDERS, FEATURES)
    assert (content.event, content.secret) == (None, False)
    assert content.why == "Placed of another library than protobuf"


def test_a_key_that_is_a_redacted_field_is_one_too() -> None:
    assert not masked_key(ORDERS)
    assert ORDER_PLACED_EVENT.key is not None
    key: FieldPath[Any] = replace(ORDER_PLACED_EVENT.key, path="email")
    event: Event[Any] = replace(ORDER_PLACED_EVENT, key=key)
    assert masked_key(replace(ORDERS, events=(event,)))


@pytest.mark.parametrize(
    ("data", "path", "wanted"),
    [
        ({"orderId": "1"}, "order_id", {"orderId": MASK}),
        (
            {"address": {"name": "Ada", "countryCode": "DE"}},
            "address.name",
            {"address": {"name": MASK, "countryCode": "DE"}},
        ),
        ({"address": {"lines": ["a", "b"]}}, "address.lines", {"address": {"lines": MASK}}),
        ({"address": {"name": "Ada"}}, "address", {"address": MASK}),
        ({}, "address.name", {}),
    ],
)
def test_masks(data: dict[str, Any], path: str, wanted: dict[str, Any]) -> None:
    mask(data, SHIPPING.message_types_by_name["ParcelShipped"], path.split("."))
    assert data == wanted
