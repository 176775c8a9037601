"""A message arrives byte for byte, and what the broker cannot carry is refused before it is sent."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

from eventwire.errors import PublishError, PublishFailed, TooLarge
from eventwire.message import Message, Receipt
from eventwire.testing.conformance.failure import Broken, equal, expect, within
from eventwire.testing.conformance.harness import Stage, messages
from eventwire.testing.conformance.scenario import Scenario
from eventwire.transport import TopicSpec

_LARGEST_TRIED = 16 << 20
"""Body limits above this are believed, not tried."""
_FRAME = 4096
"""Bytes that key, headers and the broker's own framing may take of a limit."""
_TEXT = "Größe, цена, 値段 ✓".encode()


def _variants(topic: TopicSpec, *, headers: bool) -> list[Message]:
    plain = Message(topic.name, b"plain", b"key", (), "application/protobuf", str(uuid4()))
    varied = [
        plain,
        replace(plain, body=b""),
        replace(plain, body=None),
        replace(plain, body=bytes(range(256)) * 4),
        replace(plain, body=b"\x00"),
        replace(plain, body=b"large " * 20_000),
        replace(plain, key=b"\x00\xff\x80\n"),
        replace(plain, key=_TEXT),
        replace(plain, content_type="application/cloudevents+protobuf; charset=utf-8"),
        replace(plain, content_type=None),
    ]
    if not topic.ordered:
        varied.append(replace(plain, key=None))
    if headers:
        one = (
            ("text", _TEXT),
            ("zero", b"\x00"),
            ("mixed", b"a\x00\xff\xfe"),
            ("empty", b""),
            ("number", b"42"),
        )
        varied += [
            replace(plain, headers=one),
            replace(
                plain, headers=(("ce_type", b"shop.v1.Placed"), ("traceparent", b"00-0af7651916cd43dd-01"))
            ),
            replace(plain, headers=(("x" * 100, b"v" * 1000),), body=b""),
        ]
    return [replace(each, id=str(uuid4())) for each in varied]


async def arrives_byte_for_byte(stage: Stage) -> None:
    """Body, key, headers and content type are what was published; the id too, where the broker has a place for it."""
    group = stage.group()
    for topic in (await stage.topic(group), await stage.topic(group, ordered=False)):
        consumer = await stage.subscribe(topic, group=group)
        for sent in _variants(topic, headers=stage.features.headers):
            await stage.publish(topic, [sent])
            (delivery,) = await stage.take(consumer, 1)
            delivery.ack()
            got = delivery.message
            equal(replace(got, id="", headers=()), replace(sent, id="", headers=()), "the delivered message")
            equal(sorted(got.headers), sorted(sent.headers), "the delivered headers")
            expect(got.id in {"", sent.id}, f"the id {got.id!r} is not the published {sent.id!r}")


async def too_large_is_refused_by_name(stage: Stage) -> None:
    """A body just below the limit arrives; one above it is TooLarge, and the others of its batch are written."""
    limit = stage.features.max_body
    if limit is None or limit > _LARGEST_TRIED:
        return
    group = stage.group()
    topic = await stage.topic(group)
    sent = messages(topic, 4)
    sent[0] = replace(sent[0], body=b"a" * max(limit // 2, limit - _FRAME))
    sent[2] = replace(sent[2], body=b"b" * (limit + 1))
    async with within(stage.harness.deadline, lambda: "publish_many"):
        outcomes = await stage.transport.publish_many(topic, sent)
    kinds = [type(outcome) for outcome in outcomes]
    equal(kinds, [Receipt, Receipt, TooLarge, Receipt], "the outcomes, in the messages' order")
    await _refused(stage, topic, sent[2], TooLarge)
    consumer = await stage.subscribe(topic, group=group)
    await stage.collect([consumer], [sent[0], sent[1], sent[3]])


async def headers_and_keys_above_the_limit_are_refused(stage: Stage) -> None:
    """Too many headers, too large headers, too long keys: PublishFailed, and the transport works on."""
    features, group = stage.features, stage.group()
    topic = await stage.topic(group)
    (fine,) = messages(topic, 1)
    if features.max_headers is not None:
        crowd = tuple((f"h{n}", b"v") for n in range(features.max_headers + 1))
        await _refused(stage, topic, replace(fine, headers=crowd), TooLarge)
    if features.max_header_bytes is not None:
        await _refused(
            stage, topic, replace(fine, headers=(("h", b"v" * features.max_header_bytes),)), TooLarge
        )
    if features.max_key is not None:
        await _refused(stage, topic, replace(fine, key=b"k" * (features.max_key + 1)), PublishFailed)
    consumer = await stage.subscribe(topic, group=group)
    await stage.publish(topic, [fine])
    await stage.collect([consumer], [fine])


async def _refused(stage: Stage, topic: TopicSpec, message: Message, error: type[PublishError]) -> None:
    try:
        async with within(stage.harness.deadline, lambda: "an error"):
            receipt = await stage.transport.publish(topic, message)
    except error as refusal:
        expect(refusal.message == message, f"{refusal!r} does not carry the message that was refused")
        return
    raise Broken(f"{receipt} was given for a message above a limit of {stage.features}")


async def outcomes_come_in_order(stage: Stage) -> None:
    """publish_many gives one receipt per message, in their order; an empty batch gives none."""
    topic = await stage.topic(stage.group(), partitions=3)
    sent = messages(topic, stage.count(500, 50), keys=20)
    receipts = await stage.publish(topic, sent)
    equal([each.id for each in receipts], [each.id for each in sent], "the receipts' ids")
    places = [(each.partition, each.offset) for each in receipts if each.offset is not None]
    equal(len(set(places)), len(places), "the number of different places in the receipts")
    equal(await stage.publish(topic, []), [], "the outcomes of an empty batch")


SCENARIOS = (
    Scenario(arrives_byte_for_byte),
    Scenario(too_large_is_refused_by_name, needs=("max_body",)),
    Scenario(headers_and_keys_above_the_limit_are_refused),
    Scenario(outcomes_come_in_order, delivers=False),
)
