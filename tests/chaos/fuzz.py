"""Payloads that no publisher of ours would write, and what must become of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from google.protobuf.message import DecodeError

from eventwire.codecs import protobuf as codecs
from eventwire.message import Message
from eventwire.policy import DataFormat, UnknownEvents, WireFormat
from eventwire.topic import Event, Topic
from shop.orders.v1.orders_eventwire import ORDERS
from shop.orders.v1.orders_pb2 import OrderCancelled, OrderCompleted, OrderPlaced

HUGE = 16 << 20
MARK = "fuzz"
"""The header that numbers the payloads."""
_GROUP, _GROUP_END = b"\xfb\x01", b"\xfc\x01"
_DEEP = 101

BINARY: Topic[Any] = replace(ORDERS, name="fuzz.binary.v1", unknown_events=UnknownEvents.DEAD_LETTER)
STRUCTURED: Topic[Any] = replace(
    BINARY, name="fuzz.structured.v1", wire_format=WireFormat.CLOUDEVENTS_STRUCTURED
)
PLAIN: Topic[Any] = replace(BINARY, name="fuzz.plain.v1", wire_format=WireFormat.PLAIN)
JSON: Topic[Any] = replace(
    BINARY,
    name="fuzz.json.v1",
    data_format=DataFormat.JSON,
    events=tuple(replace(event, codec=codecs.json(event.message)) for event in ORDERS.events),
)
TOPICS = (BINARY, STRUCTURED, PLAIN, JSON)
"""Four ways of writing an event; each topic reads its own only."""


@dataclass(frozen=True)
class Payload:
    """A message and, where something independent of the runtime can tell, whether a handler may get it."""

    message: Message
    readable: bool | None = None
    huge: bool = False


def payloads(dice: Random, count: int, huge: int) -> Iterator[Payload]:
    """So many payloads, of these so many of 16 MiB."""
    big = set(dice.sample(range(count), huge))
    for number in range(count):
        if number in big:
            yield _huge(dice, number)
        else:
            yield dice.choices(_KINDS, _WEIGHTS)[0](dice, number)


def _binary(number: int, event: Event[Any], body: bytes, **changed: bytes | None) -> Payload:
    """An event in binary mode; what protobuf by itself says of the bytes is what must happen."""
    attributes: dict[str, bytes | None] = {
        "ce_specversion": b"1.0",
        "ce_type": event.type.encode(),
        "ce_source": b"/fuzz",
        "ce_id": b"%d" % number,
        "ce_dataschema": b"type.googleapis.com/" + event.full_name.encode(),
        **changed,
    }
    headers = tuple((name, value) for name, value in attributes.items() if value is not None)
    message = Message(
        BINARY.name, body, _key(number), (*headers, _mark(number)), "application/protobuf", str(number)
    )
    return Payload(message, readable=None if changed else parses(event, body))


def parses(event: Event[Any], body: bytes) -> bool:
    """Whether the bytes are such a message, asking protobuf alone."""
    try:
        event.message.FromString(body)
    except DecodeError:
        return False
    return True


def _mutated(dice: Random, number: int) -> Payload:
    event, body = _valid(dice)
    return _binary(number, event, dice.choice(_MUTATIONS)(dice, body))


def _wrong_type(dice: Random, number: int) -> Payload:
    """Sound bytes, and a header that says something else: never for a handler."""
    event, body = _valid(dice)
    other = dice.choice([each for each in BINARY.events if each is not event])
    lie: dict[str, bytes | None] = dice.choice(
        [
            {"ce_type": other.type.encode()},
            {"ce_type": b"shop.payments.v1.PaymentTaken"},
            {"ce_type": dice.randbytes(20)},
            {"ce_type": None},
            {"ce_specversion": b"0.3"},
            {"ce_dataschema": b"type.googleapis.com/" + other.full_name.encode()},
        ]
    )
    return replace(_binary(number, event, body, **lie), readable=False)


def _wrong_content(dice: Random, number: int) -> Payload:
    """Sound bytes under a content type that is not the topic's."""
    event, body = _valid(dice)
    sound = _binary(number, event, body)
    kind = dice.choice(["application/json", "application/cloudevents+json", "application/avro", "\0"])
    return Payload(replace(sound.message, content_type=kind), readable=False)


def _structured(dice: Random, number: int) -> Payload:
    event, body = _valid(dice)
    whole = _cloud_event(number, event, body)
    bytes_ = dice.choice(_MUTATIONS)(dice, whole)
    kind = dice.choice(["application/cloudevents+protobuf", "application/cloudevents+json", None])
    return Payload(Message(STRUCTURED.name, bytes_, _key(number), (_mark(number),), kind, str(number)))


def _cloud_event(number: int, event: Event[Any], body: bytes) -> bytes:
    """An io.cloudevents.v1.CloudEvent, field by field (cloudevents.proto of the 1.0 specification)."""
    any_ = _field(1, b"type.googleapis.com/" + event.full_name.encode()) + _field(2, body)
    return b"".join(
        (
            _field(1, b"%d" % number),
            _field(2, b"/fuzz"),
            _field(3, b"1.0"),
            _field(4, event.type.encode()),
            _field(8, any_),
        )
    )


def _plain(dice: Random, number: int) -> Payload:
    event, body = _valid(dice)
    whole = _field(event.number or 0, body)
    bytes_ = dice.choice(_MUTATIONS)(dice, whole)
    return Payload(Message(PLAIN.name, bytes_, _key(number), (_mark(number),), None, str(number)))


def _json(dice: Random, number: int) -> Payload:
    event = JSON.events[0]
    made = OrderPlaced(order_id="k", email="\u20ac", tenant="t")
    text = dice.choice([event.codec.encode(made), b'{"email":' + dice.choice(_ODD_JSON) + b"}"])
    body = dice.choice(_MUTATIONS)(dice, text)
    sound = _binary(number, event, body).message
    return Payload(replace(sound, topic=JSON.name, content_type=dice.choice(["application/json", None])))


def _huge(dice: Random, number: int) -> Payload:
    body = _field(3, b"x" * HUGE) if dice.random() < 0.5 else b"\xff" * HUGE
    return replace(_binary(number, BINARY.events[0], body), huge=True)


def _field(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])


def _mark(number: int) -> tuple[str, bytes]:
    return MARK, b"%d" % number


def _key(number: int) -> bytes:
    return b"k%d" % (number % 50)


def _valid(dice: Random) -> tuple[Event[Any], bytes]:
    event = dice.choice(BINARY.events)
    text = "".join(map(chr, dice.choices(range(32, 0x3000), k=dice.randrange(20))))
    made: OrderPlaced | OrderCancelled | OrderCompleted
    match event.number:
        case 1:
            made = OrderPlaced(order_id="k", total_cents=dice.getrandbits(62), email=text, tenant="t")
            made.campaign[text] = "c"
            made.lines.add(sku=text, quantity=dice.randrange(9))
            made.placed_at.seconds = dice.getrandbits(30)
        case 2:
            made = OrderCancelled(order_id="k", reason=text)
        case _:
            made = OrderCompleted(order_id="k", parcel_ids=[text] * dice.randrange(5))
    return event, made.SerializeToString()


def _flipped(dice: Random, body: bytes) -> bytes:
    changed = bytearray(body)
    for _ in range(dice.randrange(1, 5)):
        changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def _cut(dice: Random, body: bytes) -> bytes:
    return body[: dice.randrange(len(body))]


def _spliced(dice: Random, body: bytes) -> bytes:
    at = dice.randrange(len(body))
    return body[at:] + dice.randbytes(dice.randrange(20)) + body[:at]


def _deep(dice: Random, body: bytes) -> bytes:
    """Groups within groups that no field knows: protobuf goes 100 deep."""
    depth = dice.choice([_DEEP - 1, _DEEP, 10_000])
    return _GROUP * depth + dice.choice([_GROUP_END * depth, b""]) + body


def _random(dice: Random, _: bytes) -> bytes:
    return dice.randbytes(dice.randrange(300))


def _none(dice: Random, _: bytes) -> bytes:
    return b""


def _as_it_is(dice: Random, body: bytes) -> bytes:
    return body


_ODD_JSON = (
    b"[" * 20_000, b"[" * 900 + b"]" * 900, b'{"a":' * 5000, b"9" * 10_000, b"1e999", b"NaN", b'"\\ud800"', b"null",
)  # fmt: skip
_MUTATIONS: Sequence[Callable[[Random, bytes], bytes]] = (
    _flipped, _flipped, _cut, _spliced, _deep, _random, _none, _as_it_is,
)  # fmt: skip
_KINDS: Sequence[Callable[[Random, int], Payload]] = (
    _mutated, _wrong_type, _wrong_content, _structured, _plain, _json,
)  # fmt: skip
_WEIGHTS = (45, 15, 5, 12, 13, 10)
