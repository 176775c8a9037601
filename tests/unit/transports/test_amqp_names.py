import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pamqp.commands import Exchange, Queue

from eventwire.transport import TopicSpec
from eventwire.transports.amqp import names

PARTS = st.text(alphabet="ab.p0%#-é", min_size=1, max_size=6) | st.sampled_from(
    [
        "p0",
        "undelivered",
        "undelivered-2",
        "suspects",
        "mark",
        "waiting",
        "a.p0",
        "#70",
        "#700",
        "amq.a",
        "#61mq.a",
        "#",
        "##",
    ]
)
ANY = st.text(max_size=300) | st.text(alphabet="é#.a ", max_size=300)


def test_names_are_as_documented() -> None:
    ordered, unordered = TopicSpec("shop.v1", partitions=2, ordered=True), TopicSpec("shop.v1", partitions=2)
    assert names.exchange(ordered) == "shop.v1"
    assert names.queues(ordered, "billing") == ("shop.v1.billing.p0", "shop.v1.billing.p1")
    assert names.queues(unordered, "billing") == ("shop.v1.billing",)
    assert names.queues(TopicSpec("dead", queue=True), "billing") == ("dead",)
    assert names.undelivered(ordered, "billing") == "shop.v1.billing.undelivered-2"
    assert names.undelivered(unordered, "billing") == "shop.v1.billing.undelivered"
    retry = TopicSpec("shop.v1.billing.retry.5s", queue=True, delay=5)
    assert names.entry(retry) == "shop.v1.billing.retry.5s.waiting"
    assert names.entry(TopicSpec("dead", queue=True)) == "dead"
    assert names.suspects(ordered, "billing") is None
    assert names.suspects(unordered, "billing") == "shop.v1.billing.suspects"
    assert names.suspects(retry, "billing") == "shop.v1.billing.retry.5s.suspects"
    assert names.one_by_one(ordered, "billing") == names.queues(ordered, "billing")
    assert names.one_by_one(unordered, "billing") == ("shop.v1.billing.suspects",)
    assert names.mark("shop.v1.billing.p0") == "shop.v1.billing.p0.mark"
    assert [names.binding(ordered, 1), names.binding(unordered, 0)] == ["p1.#", "#"]


@pytest.mark.parametrize(
    ("topic", "exchange"),
    [("a!b", "a#21b"), ("a/b c:d@e,f+g", "a/b c:d@e,f+g"), ("amq.x", "#61mq.x"), ("", "#"), ("a#b", "a#23b")],
)
def test_a_topic_is_escaped_as_documented(topic: str, exchange: str) -> None:
    assert names.exchange(TopicSpec(topic)) == exchange


@pytest.mark.parametrize(
    ("group", "segment"),
    [("a.b", "a#2Eb"), ("p0", "#700"), ("undelivered", "#75ndelivered"), ("é", "#C3#A9"), ("p", "p")],
)
def test_a_group_is_escaped_as_documented(group: str, segment: str) -> None:
    assert names.queues(TopicSpec("t"), group) == (f"t.{segment}",)


@given(st.lists(st.tuples(PARTS, PARTS, st.booleans()), unique=True, min_size=2, max_size=2))
def test_two_groups_never_share_a_queue(both: list[tuple[str, str, bool]]) -> None:
    used = [
        {*names.everything(spec, group), names.undelivered(spec, group)}
        for name, group, ordered in both
        for spec in [TopicSpec(name, partitions=2, ordered=ordered)]
    ]
    assert not used[0] & used[1]


@given(st.lists(st.tuples(PARTS, st.booleans()), unique_by=lambda one: one[0], min_size=2, max_size=2))
def test_two_queue_topics_share_a_queue_only_where_one_is_named_after_the_other(
    both: list[tuple[str, bool]],
) -> None:
    one, other = (
        (name, {*names.everything(TopicSpec(name, queue=True, delay=delay), "g")}) for name, delay in both
    )
    longer, shorter = sorted((one[0], other[0]), key=len, reverse=True)
    assert not one[1] & other[1] or re.match(rf"{re.escape(shorter)}\.(waiting|suspects|mark)", longer)


@given(st.lists(PARTS | ANY, unique=True, min_size=2, max_size=2))
@example(["x" * 300, "x" * 93 + "##" + "0" * 32])
def test_two_topics_never_share_an_exchange(both: list[str]) -> None:
    one, other = (names.exchange(TopicSpec(name)) for name in both)
    assert one != other


@given(ANY, ANY, st.booleans(), st.booleans())
@example("t" * 300, "g" * 300, True, False)
@example("\n", "\n", True, False)
@example("\ud800", "\ud800", True, False)
def test_the_client_and_rabbitmq_take_any_name(topic: str, group: str, ordered: bool, queue: bool) -> None:
    spec = TopicSpec(topic, partitions=2, ordered=ordered, queue=queue)
    exchange = names.exchange(spec)
    Exchange.Declare(exchange=exchange).marshal()
    for name in (*names.everything(spec, group), names.undelivered(spec, group)):
        Queue.Declare(queue=name).marshal()
        Queue.Bind(queue=name, exchange=exchange).marshal()
        assert not re.match(r"amq\.|$", name)
    assert not re.match(r"amq\.|$", exchange)


@given(st.text(min_size=1), st.text(min_size=1))
def test_long_names_differ(name: str, other: str) -> None:
    long, longer = TopicSpec("é" * 200 + name), TopicSpec("é" * 200 + name + other)
    assert names.exchange(long) != names.exchange(longer)
    assert names.queues(long, "g") != names.queues(longer, "g")


def test_names_within_the_limits_stay() -> None:
    assert names.exchange(TopicSpec("n" * 127)) == "n" * 127
    assert re.fullmatch(r"n{93}##[0-9a-f]{32}", names.exchange(TopicSpec("n" * 128)))
    assert names.queues(TopicSpec("n" * 253), "g") == ("n" * 253 + ".g",)
    assert re.fullmatch(r"n{221}##[0-9a-f]{32}", names.queues(TopicSpec("n" * 254), "g")[0])
