from __future__ import annotations

import re

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from hypothesis import given
from hypothesis import strategies as st

from eventwire_gen.faults import Faults, Place
from eventwire_gen.names import ModuleNames, constant, handler, pascal, snake

IDENTIFIERS = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True)
PLACE = Place(FileDescriptorProto(name="a.proto"))


@pytest.mark.parametrize(
    ("name", "snaked"),
    [
        ("OrderPlaced", "order_placed"),
        ("orderPlaced", "order_placed"),
        ("order_placed", "order_placed"),
        ("HTTPError", "http_error"),
        ("OrderV2", "order_v2"),
        ("ORDER", "order"),
        ("None", "none"),
    ],
)
def test_snake(name: str, snaked: str) -> None:
    assert snake(name) == snaked
    assert handler(name) == f"on_{snaked}"
    assert constant(name) == snaked.upper()


def test_nested_names_are_joined() -> None:
    assert constant("Outer", "Orders") == "OUTER_ORDERS"
    assert pascal("outer", "Orders") == "OuterOrders"


@given(IDENTIFIERS)
def test_generated_names_can_be_written(name: str) -> None:
    for generated in (constant(name) + "_EVENT", handler(name), pascal(name) + "Handler"):
        assert re.fullmatch(r"[A-Za-z0-9_]+", generated)
    assert handler(name).isidentifier()


def test_an_event_that_an_earlier_topic_has_gets_its_topics_name() -> None:
    names = ModuleNames(Faults())
    orders, audit = names.topic(PLACE, ["Orders"]), names.topic(PLACE, ["Audit"])
    assert names.event(orders, ["placed"]) == "PLACED_EVENT"
    assert names.event(audit, ["placed"]) == "AUDIT_PLACED_EVENT"
    assert names.event(audit, ["placed"]) == "AUDIT_PLACED_EVENT_"


def test_topics_that_would_share_a_name_are_a_fault() -> None:
    faults = Faults()
    names = ModuleNames(faults)
    names.topic(PLACE, ["Orders"])
    names.topic(PLACE, ["orders"])
    assert "topic orders would generate ORDERS, OrdersPublisher" in str(faults)
