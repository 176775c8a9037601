"""The bytes on the wire, against values written down by hand: what any other CloudEvents library would read."""

import re
from dataclasses import replace
from typing import Any

from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    timestamp_pb2,
)
from google.protobuf.message import Message as ProtoMessage

from eventwire import Event, Features, Topic, WireFormat
from eventwire.codecs import protobuf
from eventwire.transport import DriverOptions
from eventwire.transports.kafka import KafkaTransport
from eventwire.transports.kafka.records import write_headers
from eventwire.url import BrokerUrl
from eventwire.wire.writer import Writer

_ORDERS_FILE = """
name: "acme/orders.proto" package: "acme.orders.v1" syntax: "proto3"
message_type {
  name: "OrderPlaced"
  field { name: "order_id" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
  field { name: "cents" number: 2 type: TYPE_INT64 label: LABEL_OPTIONAL }
}
"""
# The spec's cloudevents.proto: https://github.com/cloudevents/spec, cloudevents/formats/cloudevents.proto.
_CLOUDEVENTS_FILE = """
name: "cloudevents.proto" package: "io.cloudevents.v1" syntax: "proto3"
dependency: "google/protobuf/any.proto" dependency: "google/protobuf/timestamp.proto"
message_type {
  name: "CloudEvent"
  field { name: "id" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
  field { name: "source" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL }
  field { name: "spec_version" number: 3 type: TYPE_STRING label: LABEL_OPTIONAL }
  field { name: "type" number: 4 type: TYPE_STRING label: LABEL_OPTIONAL }
  field {
    name: "attributes" number: 5 type: TYPE_MESSAGE label: LABEL_REPEATED
    type_name: ".io.cloudevents.v1.CloudEvent.AttributesEntry"
  }
  field { name: "binary_data" number: 6 type: TYPE_BYTES label: LABEL_OPTIONAL oneof_index: 0 }
  field { name: "text_data" number: 7 type: TYPE_STRING label: LABEL_OPTIONAL oneof_index: 0 }
  field {
    name: "proto_data" number: 8 type: TYPE_MESSAGE label: LABEL_OPTIONAL oneof_index: 0
    type_name: ".google.protobuf.Any"
  }
  oneof_decl { name: "data" }
  nested_type {
    name: "AttributesEntry"
    field { name: "key" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
    field {
      name: "value" number: 2 type: TYPE_MESSAGE label: LABEL_OPTIONAL
      type_name: ".io.cloudevents.v1.CloudEvent.CloudEventAttributeValue"
    }
    options { map_entry: true }
  }
  nested_type {
    name: "CloudEventAttributeValue"
    field { name: "ce_boolean" number: 1 type: TYPE_BOOL label: LABEL_OPTIONAL oneof_index: 0 }
    field { name: "ce_integer" number: 2 type: TYPE_INT32 label: LABEL_OPTIONAL oneof_index: 0 }
    field { name: "ce_string" number: 3 type: TYPE_STRING label: LABEL_OPTIONAL oneof_index: 0 }
    field { name: "ce_bytes" number: 4 type: TYPE_BYTES label: LABEL_OPTIONAL oneof_index: 0 }
    field { name: "ce_uri" number: 5 type: TYPE_STRING label: LABEL_OPTIONAL oneof_index: 0 }
    field { name: "ce_uri_ref" number: 6 type: TYPE_STRING label: LABEL_OPTIONAL oneof_index: 0 }
    field {
      name: "ce_timestamp" number: 7 type: TYPE_MESSAGE label: LABEL_OPTIONAL oneof_index: 0
      type_name: ".google.protobuf.Timestamp"
    }
    oneof_decl { name: "attr" }
  }
}
"""


def _class(file: str, full_name: str) -> Any:
    """The class of a message, in a pool that nothing else knows."""
    pool = descriptor_pool.DescriptorPool()
    for module in (any_pb2, timestamp_pb2):
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    pool.Add(text_format.Parse(file, descriptor_pb2.FileDescriptorProto()))
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(full_name))


OrderPlaced = _class(_ORDERS_FILE, "acme.orders.v1.OrderPlaced")
CloudEvent = _class(_CLOUDEVENTS_FILE, "io.cloudevents.v1.CloudEvent")

PLACED: Event[ProtoMessage] = Event(
    type="acme.orders.v1.OrderPlaced",
    full_name="acme.orders.v1.OrderPlaced",
    message=OrderPlaced,
    codec=protobuf.binary(OrderPlaced),
    handler="on_order_placed",
    member="order_placed",
    json_name="orderPlaced",
    number=1,
    time=lambda _: 1_767_323_045.25,
)
ORDERS: Topic[ProtoMessage] = Topic(
    name="acme.orders.v1", full_name="acme.orders.v1.Orders", package="acme.orders.v1", events=(PLACED,)
)
BODY = bytes.fromhex("0a036f2d3110e209")


def kafka() -> Features:
    return KafkaTransport(BrokerUrl.parse("kafka://127.0.0.1:1"), DriverOptions()).features


def written(topic: Topic[ProtoMessage]) -> Any:
    event = OrderPlaced(order_id="o-1", cents=1250)
    return Writer(topic, topic.name, kafka(), "/acme/orders").write(event, id="e-1")


def test_binary_mode_on_kafka() -> None:
    message = written(ORDERS)
    assert message.body == BODY
    assert sorted(write_headers(message)) == [
        ("ce_dataschema", b"type.googleapis.com/acme.orders.v1.OrderPlaced"),
        ("ce_id", b"e-1"),
        ("ce_source", b"/acme/orders"),
        ("ce_specversion", b"1.0"),
        ("ce_time", b"2026-01-02T03:04:05.250000Z"),
        ("ce_type", b"acme.orders.v1.OrderPlaced"),
        ("content-type", b"application/protobuf"),
    ]


def test_an_event_without_a_time_of_its_own_has_that_of_its_writing() -> None:
    message = written(replace(ORDERS, events=(replace(PLACED, time=None),)))
    moment = dict(message.headers)["ce_time"].decode()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", moment)  # RFC 3339


def test_the_topic_message_is_field_1_around_the_event() -> None:
    assert written(replace(ORDERS, wire_format=WireFormat.PLAIN)).body == b"\x0a\x08" + BODY


def test_structured_mode_is_read_by_the_specs_message() -> None:
    message = written(replace(ORDERS, wire_format=WireFormat.CLOUDEVENTS_STRUCTURED))
    assert write_headers(message) == [("content-type", b"application/cloudevents+protobuf")]
    event = CloudEvent.FromString(message.body)
    assert (event.id, event.source, event.spec_version, event.type) == (
        "e-1",
        "/acme/orders",
        "1.0",
        "acme.orders.v1.OrderPlaced",
    )
    assert event.WhichOneof("data") == "proto_data"
    assert event.proto_data.type_url == "type.googleapis.com/acme.orders.v1.OrderPlaced"
    assert event.proto_data.value == BODY
    assert set(event.attributes) == {"time", "dataschema"}
    assert event.attributes["time"].ce_timestamp.ToJsonString() == "2026-01-02T03:04:05.250Z"
    assert event.attributes["dataschema"].ce_uri == "type.googleapis.com/acme.orders.v1.OrderPlaced"
