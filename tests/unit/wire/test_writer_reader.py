from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from traceback import format_exception
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventwire import (
    Codec,
    DataFormat,
    Features,
    InvalidEvent,
    Message,
    TooLarge,
    Topic,
    Undecodable,
    UnknownEvent,
    WireFormat,
)
from eventwire.errors import CapabilityError
from eventwire.wire.reader import Limits, Reader
from eventwire.wire.structured import _cloud_event  # pyright: ignore[reportPrivateUsage]
from eventwire.wire.writer import Writer
from tests.unit.shop import CANCELLED, ORDERS, PLACED, PRICES, Cancelled, Placed, Price

FACTS = Features(
    transport="test",
    durable=True,
    confirms=True,
    ack=True,
    groups=True,
    ordering=True,
    history=True,
    replay=True,
    processes=True,
)
FORMATS = [WireFormat.CLOUDEVENTS, WireFormat.CLOUDEVENTS_STRUCTURED, WireFormat.PLAIN]


def topic_in(
    form: WireFormat, data: DataFormat = DataFormat.JSON, **changes: Any
) -> Topic[Placed | Cancelled]:
    return replace(ORDERS, wire_format=form, data_format=data, **changes)


def write(topic: Topic[Any], event: object, facts: Features = FACTS, **options: Any) -> Message:
    return Writer(topic, topic.name, facts, None).write(event, **options)


def read(topic: Topic[Any], message: Message, facts: Features = FACTS) -> Any:
    return Reader(topic, facts).read(message)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("data", list(DataFormat))
@given(
    event=st.one_of(
        st.builds(Placed, st.text(min_size=1), st.integers()),
        st.builds(Cancelled, st.text(min_size=1), st.text()),
    )
)
def test_every_format_brings_the_event_back(
    form: WireFormat, data: DataFormat, event: Placed | Cancelled
) -> None:
    topic = topic_in(form, data)
    incoming = read(topic, write(topic, event))
    assert incoming.decode() == event
    assert incoming.event is topic.by_message[type(event)]


def test_binary_mode_writes_the_attributes_of_the_kafka_binding() -> None:
    message = write(topic_in(WireFormat.CLOUDEVENTS), Placed("o-1", 5, "acme"), id="e-1", headers={"x": "y"})
    headers = dict(message.headers)
    moment = headers.pop("ce_time").decode()
    assert headers == {
        "ce_specversion": b"1.0",
        "ce_id": b"e-1",
        "ce_source": b"/shop/v1",
        "ce_type": b"shop.v1.Placed",
        "ce_dataschema": b"type.googleapis.com/shop.v1.Placed",
        "ce_tenant": b"acme",
        "x": b"y",
    }
    assert moment.endswith("Z")
    assert (message.content_type, message.key, message.id) == ("application/json", b"o-1", "e-1")


def test_structured_protobuf_is_the_specs_message() -> None:
    topic = topic_in(WireFormat.CLOUDEVENTS_STRUCTURED, DataFormat.PROTOBUF)
    message = write(topic, Placed("o-1", 5, "acme"), id="e-1")
    assert message.content_type == "application/cloudevents+protobuf"
    assert message.body is not None
    assert message.body.startswith(
        b"\n\x03e-1\x12\x08/shop/v1\x1a\x031.0\x22\x0eshop.v1.Placed"
    )  # fields 1 to 4
    incoming = read(topic, message)
    assert incoming.attribute("tenant") == b"acme"
    assert (incoming.attribute("time") or b"").endswith(b"Z")


def test_plain_is_the_topic_message() -> None:
    body = write(topic_in(WireFormat.PLAIN, DataFormat.PROTOBUF), Placed("o-1", 5)).body
    assert body is not None
    assert body[:2] == bytes([1 << 3 | 2, len(body) - 2])  # field 1, length-delimited


def test_plain_json_is_proto_json_of_the_topic_message() -> None:
    body = write(topic_in(WireFormat.PLAIN), Cancelled("o-1", "late")).body
    assert body == b'{"cancelled":{"order_id": "o-1", "reason": "late"}}'


@pytest.mark.parametrize("prefix", ["cloudEvents_", "cloudEvents:", "ce-"])
def test_every_prefix_that_a_transport_reads_is_read(prefix: str) -> None:
    facts = replace(
        FACTS, attribute_prefix="cloudEvents_", attribute_prefixes=("cloudEvents_", "cloudEvents:", "ce-")
    )
    topic = topic_in(WireFormat.CLOUDEVENTS)
    written = write(topic, Placed("1"), facts)
    headers = tuple((name.replace("cloudEvents_", prefix), value) for name, value in written.headers)
    assert read(topic, replace(written, headers=headers), facts).decode() == Placed("1")


def test_an_unknown_type_is_told_before_anything_is_parsed() -> None:
    topic = topic_in(WireFormat.CLOUDEVENTS)
    written = write(topic, Placed("1"))
    headers = tuple((n, b"shop.v1.Refunded" if n == "ce_type" else v) for n, v in written.headers)
    with pytest.raises(UnknownEvent, match=r"`shop\.v1\.Refunded` is no event type known here"):
        read(topic, replace(written, headers=headers, body=b"\xff\xff"))


def test_the_right_bytes_under_the_wrong_type_name_are_refused() -> None:
    topic = topic_in(WireFormat.CLOUDEVENTS)
    written = write(topic, Placed("1"))
    headers = tuple((n, b"shop.v1.Cancelled" if n == "ce_type" else v) for n, v in written.headers)
    with pytest.raises(Undecodable, match="dataschema"):
        read(topic, replace(written, headers=headers))


def test_a_structured_event_under_the_wrong_type_name_is_refused() -> None:
    topic = topic_in(WireFormat.CLOUDEVENTS_STRUCTURED, DataFormat.PROTOBUF)
    written = write(topic, Placed("1"))
    assert written.body is not None
    body = written.body.replace(b"\x22\x0eshop.v1.Placed", b"\x22\x11shop.v1.Cancelled")
    with pytest.raises(Undecodable, match=r"type is shop\.v1\.Cancelled and its data a shop\.v1\.Placed"):
        read(topic, replace(written, body=body))


def test_bytes_that_are_no_such_message_are_undecodable() -> None:
    topic = topic_in(WireFormat.CLOUDEVENTS)
    incoming = read(topic, replace(write(topic, Placed("1")), body=b"\xff"))
    with pytest.raises(Undecodable, match=r"the data is no shop\.v1\.Placed"):
        incoming.decode()


def test_plain_bytes_on_a_cloudevents_topic_are_never_tried() -> None:
    plain = write(topic_in(WireFormat.PLAIN, DataFormat.PROTOBUF), Placed("1"))
    with pytest.raises(Undecodable, match="does not accept PLAIN"):
        read(topic_in(WireFormat.CLOUDEVENTS, DataFormat.PROTOBUF), plain)


def test_a_migration_accepts_both() -> None:
    plain = write(topic_in(WireFormat.PLAIN, DataFormat.PROTOBUF), Placed("1"))
    topic = topic_in(WireFormat.CLOUDEVENTS, DataFormat.PROTOBUF, accept=(WireFormat.PLAIN,))
    assert read(topic, plain).decode() == Placed("1")
    assert read(topic, write(topic, Placed("2"))).decode() == Placed("2")


@pytest.mark.parametrize(
    ("body", "error", "text"),
    [
        (b"", Undecodable, "empty"),
        (b"\x1a\x00", UnknownEvent, "field 3"),
        (b"\x08\x01", Undecodable, "field 1 of the topic message is no message"),
        (b"\x0a\x05ab", Undecodable, "ends inside"),
        (b"\x00\x00\x00\x00\x01\x00", Undecodable, "schema id"),
        (b"\x0a" + b"\xff" * 12, Undecodable, "varint"),
        (b"\x0c", Undecodable, "group ends"),
        (b"\x1b" * 200, Undecodable, "nested"),
    ],
)
def test_plain_bytes_that_hold_no_event(body: bytes, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        read(topic_in(WireFormat.PLAIN, DataFormat.PROTOBUF), Message("shop.v1", body))


@given(st.binary(max_size=64))
def test_random_plain_bytes_are_read_or_refused(body: bytes) -> None:
    topic = topic_in(WireFormat.PLAIN, DataFormat.PROTOBUF)
    try:
        read(topic, Message("shop.v1", body))
    except (Undecodable, UnknownEvent):
        return


@given(st.binary(max_size=64))
@pytest.mark.parametrize(
    "media",
    [
        "application/cloudevents+protobuf",
        "application/cloudevents+json",
        "application/cloudevents-batch+json",
    ],
)
def test_random_structured_bytes_are_read_or_refused(media: str, body: bytes) -> None:
    with pytest.raises((Undecodable, UnknownEvent)):
        read(topic_in(WireFormat.CLOUDEVENTS), Message("shop.v1", body, content_type=media))


def test_another_content_type_than_the_topics_is_refused() -> None:
    topic = topic_in(WireFormat.CLOUDEVENTS, DataFormat.PROTOBUF)
    with pytest.raises(Undecodable, match=r"content type `text/plain`, but topic shop\.v1 is protobuf"):
        read(topic, replace(write(topic, Placed("1")), content_type="text/plain"))


def test_limits_hold_before_parsing() -> None:
    topic = topic_in(WireFormat.CLOUDEVENTS)
    message = write(topic, Placed("1"))
    for limits in (Limits(body=3), Limits(headers=2), Limits(header_bytes=10)):
        with pytest.raises(Undecodable, match=r"that are read"):
            Reader(topic, FACTS, limits).read(message)


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        (replace(FACTS, max_body=3), "the body has"),
        (replace(FACTS, max_key=1), "the key has"),
        (replace(FACTS, max_headers=2), "headers, test takes 2"),
        (replace(FACTS, max_header_bytes=10), "the headers have"),
    ],
)
def test_what_the_broker_would_refuse_is_refused_before(facts: Features, text: str) -> None:
    with pytest.raises(TooLarge, match=text) as caught:
        write(topic_in(WireFormat.CLOUDEVENTS), Placed("order-1"), facts)
    assert caught.value.id


@pytest.mark.parametrize(
    "name", ["", "a b", "ce_id", "content-type", "Content-Type", "eventwire_x", "ü", "a\r\nb"]
)
def test_headers_that_would_be_mistaken_are_refused(name: str) -> None:
    with pytest.raises(InvalidEvent, match="header"):
        write(topic_in(WireFormat.CLOUDEVENTS), Placed("1"), headers={name: "x"})


def test_an_event_of_another_topic_is_refused_by_name() -> None:
    with pytest.raises(InvalidEvent, match=r"publishes Placed, Cancelled; this is a Price"):
        write(topic_in(WireFormat.CLOUDEVENTS), Price("1"))


def test_an_event_that_cannot_be_encoded_is_refused() -> None:
    with pytest.raises(InvalidEvent, match="cannot be encoded"):
        write(topic_in(WireFormat.CLOUDEVENTS), Placed("1", object()))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_a_transport_without_headers_needs_a_format_without() -> None:
    with pytest.raises(CapabilityError, match="carries no headers"):
        Writer(topic_in(WireFormat.CLOUDEVENTS), "t", replace(FACTS, headers=False), None)


def test_confluent_framing_needs_a_registry() -> None:
    with pytest.raises(CapabilityError, match="schema registry"):
        Writer(topic_in(WireFormat.CONFLUENT), "t", FACTS, None)


def test_a_tombstone_is_read_on_a_compacted_topic_only() -> None:
    message = Writer(PRICES, PRICES.name, FACTS, None).tombstone("sku-1")
    assert (message.key, message.body) == (b"sku-1", None)
    assert read(PRICES, message).data is None
    with pytest.raises(Undecodable, match="not compacted"):
        read(ORDERS, message)


def test_the_services_name_is_the_source() -> None:
    message = Writer(ORDERS, "t", FACTS, "/checkout").write(Placed("1"))
    assert message.header("ce_source") == b"/checkout"


def structured(**members: object) -> Message:
    event = {"specversion": "1.0", "id": "1", "source": "/x", "type": "shop.v1.Placed"} | members
    return Message("shop.v1", json.dumps(event).encode(), content_type="application/cloudevents+json")


def test_structured_json_is_no_data_of_a_protobuf_topic_unless_it_says_so() -> None:
    topic = topic_in(WireFormat.CLOUDEVENTS_STRUCTURED, DataFormat.PROTOBUF)
    data = {"order_id": "1"}
    with pytest.raises(Undecodable, match="content type `application/json`, but topic"):
        read(topic, structured(data=data))
    encoded = b64encode(json.dumps(data).encode()).decode()
    binary = structured(data_base64=encoded, datacontenttype="application/protobuf")
    assert read(topic, binary).decode() == Placed("1")


def test_structured_protobuf_is_no_data_of_a_json_topic() -> None:
    written = write(topic_in(WireFormat.CLOUDEVENTS_STRUCTURED, DataFormat.PROTOBUF), Placed("1"))
    with pytest.raises(Undecodable, match="content type `application/protobuf`, but topic"):
        read(topic_in(WireFormat.CLOUDEVENTS_STRUCTURED), written)


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({}, "it has no data"),
        ({"data": None}, "it has no data"),
        ({"data": float("nan")}, "NaN is no JSON"),
        ({"data_base64": "%"}, "no CloudEvent"),
        ({"data_base64": 5}, "no CloudEvent"),
        ({"data": {}, "id": ""}, "lacks the required attributes id"),
        ({"data": {}, "subject": "\ud800"}, "surrogates"),
        ({"data": {}, "type": None}, "lacks the required attributes type"),
    ],
)
def test_structured_events_that_are_none(members: dict[str, object], text: str) -> None:
    with pytest.raises(Undecodable, match=text):
        read(topic_in(WireFormat.CLOUDEVENTS_STRUCTURED), structured(**members))


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"placed":{},"placed":{}}', "two members of one name"),
        (b'{"placed":{"a":1,"a":2}}', "two members of one name"),
        (b'{"placed":{"cents":NaN}}', "NaN is no JSON"),
        (b'{"placed":' + b"9" * 5000 + b"}", "no JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b"\xff", "no JSON"),
        (b"[]", "no JSON object with one event"),
    ],
)
def test_plain_json_that_holds_no_event(body: bytes, text: str) -> None:
    with pytest.raises(Undecodable, match=text):
        read(topic_in(WireFormat.PLAIN), Message("shop.v1", body))


def test_a_structured_protobuf_event_without_data_or_with_an_impossible_time_is_refused() -> None:
    topic = topic_in(WireFormat.CLOUDEVENTS_STRUCTURED, DataFormat.PROTOBUF)
    written = write(topic, Placed("1"))
    event = _cloud_event().FromString(written.body)
    event.attributes["time"].ce_timestamp.seconds = 1 << 60
    with pytest.raises(Undecodable, match="no CloudEvent of content type"):
        read(topic, replace(written, body=event.SerializeToString()))
    event.ClearField("proto_data")
    event.attributes.clear()
    with pytest.raises(Undecodable, match="it has no data"):
        read(topic, replace(written, body=event.SerializeToString()))


@pytest.mark.parametrize("name", ["ce_id", "ce_source", "ce_type"])
def test_a_required_attribute_that_is_empty_is_none(name: str) -> None:
    topic = topic_in(WireFormat.CLOUDEVENTS)
    written = write(topic, Placed("1"))
    headers = tuple((known, b"" if known == name else value) for known, value in written.headers)
    with pytest.raises(Undecodable, match="no CloudEvents attributes"):
        read(topic, replace(written, headers=headers))


def test_headers_that_are_no_text_are_told_as_unknown() -> None:
    topic = topic_in(WireFormat.CLOUDEVENTS)
    written = write(topic, Placed("1"))
    headers = tuple((known, b"\xff" if known == "ce_type" else value) for known, value in written.headers)
    with pytest.raises(UnknownEvent):
        read(topic, replace(written, headers=headers))


def test_content_types_are_compared_without_parameters_and_case() -> None:
    topic = topic_in(WireFormat.CLOUDEVENTS)
    written = write(topic, Placed("1"))
    for spelling in ("Application/JSON; charset=utf-8", "application/json ", None):
        assert read(topic, replace(written, content_type=spelling)).decode() == Placed("1")


@pytest.mark.parametrize("options", [{"id": "\ud800"}, {"headers": {"x": "\ud800"}}, {"headers": {"x": 5}}])
def test_text_that_cannot_be_written_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidEvent):
        write(topic_in(WireFormat.CLOUDEVENTS), Placed("1"), **options)


def at(seconds: float) -> Callable[[Placed], float]:
    def read(_: Placed) -> float:
        return seconds

    return read


@pytest.mark.parametrize("seconds", [1e15, -1e15, float("nan"), float("inf")])
def test_a_time_that_is_no_date_is_refused(seconds: float) -> None:
    event = replace(PLACED, time=at(seconds))
    topic = topic_in(WireFormat.CLOUDEVENTS, events=(event, CANCELLED))
    with pytest.raises(InvalidEvent):
        write(topic, Placed("1"))


def test_a_time_is_written_as_rfc_3339_in_every_year() -> None:
    event = replace(PLACED, time=at(-62135596800.0 + 1.5))
    message = write(topic_in(WireFormat.CLOUDEVENTS, events=(event, CANCELLED)), Placed("1"))
    assert message.header("ce_time") == b"0001-01-01T00:00:01.500000Z"


@pytest.mark.parametrize("key", ["", b"", b"sku", 5])
def test_a_tombstone_takes_a_key_of_the_topics_type_only(key: str | bytes | int) -> None:
    with pytest.raises(InvalidEvent, match="needs a key that is not empty, of type string"):
        Writer(PRICES, PRICES.name, FACTS, None).tombstone(key)


def test_a_tombstone_keeps_to_the_brokers_limits() -> None:
    with pytest.raises(TooLarge, match="the key has"):
        Writer(PRICES, PRICES.name, replace(FACTS, max_key=2), None).tombstone("sku-1")
    bare = replace(FACTS, headers=False)
    plain = replace(PRICES, wire_format=WireFormat.PLAIN)
    assert Writer(plain, PRICES.name, bare, None).tombstone("sku-1").headers == ()


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_inherited_is_read_again_in_every_format(form: WireFormat) -> None:
    topic = topic_in(form)
    message = Writer(topic, "t", FACTS, None).write(
        Placed("1", 1, "acme"), inherited=(("correlationid", b"c-1"),)
    )
    incoming = read(topic, message)
    assert (incoming.attribute("correlationid"), incoming.attribute("tenant")) == (b"c-1", b"acme")


def test_redacted_values_do_not_leak_into_errors() -> None:
    value = "-".join(["4111"] * 2)  # a traceback shows source lines: the value must not stand in one
    redacted = replace(PLACED, redacted=("order_id",), codec=Codec(_leaks, _leaks))
    topic = replace(topic_in(WireFormat.CLOUDEVENTS), events=(redacted,))
    with pytest.raises(InvalidEvent) as refused:
        write(topic, Placed(value))
    headers = tuple((f"ce_{n}", v) for n, v in _attributes("shop.v1.Placed").items())
    with pytest.raises(Undecodable) as unread:
        read(topic, Message("shop.v1", value.encode(), b"k", headers)).decode()
    shown = "".join(line for error in (refused.value, unread.value) for line in format_exception(error))
    assert value not in shown
    assert "LookupError" in str(unread.value)


def _leaks(value: Any) -> Any:
    raise LookupError(f"not understood: {value}")


def _attributes(type_name: str, version: str = "1.0") -> dict[str, bytes]:
    return {"specversion": version.encode(), "id": b"1", "source": b"/x", "type": type_name.encode()}


@pytest.mark.parametrize("data", list(DataFormat))
def test_a_structured_topic_is_read_without_a_content_type(data: DataFormat) -> None:
    topic = topic_in(WireFormat.CLOUDEVENTS_STRUCTURED, data)
    assert read(topic, replace(write(topic, Placed("1")), content_type=None)).decode() == Placed("1")


@pytest.mark.parametrize("version", ["0.3", "9.9", ""])
def test_another_version_of_cloudevents_is_refused(version: str) -> None:
    headers = tuple((f"ce_{n}", v) for n, v in _attributes("shop.v1.Placed", version).items())
    with pytest.raises(Undecodable, match=r"specversion|PLAIN"):
        read(topic_in(WireFormat.CLOUDEVENTS), Message("shop.v1", b"{}", b"k", headers))


def test_accepting_confluent_needs_a_registry() -> None:
    with pytest.raises(CapabilityError, match="schema registry"):
        Reader(topic_in(WireFormat.CLOUDEVENTS, accept=(WireFormat.CONFLUENT,)), FACTS)
