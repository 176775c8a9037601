from hypothesis import given
from hypothesis import strategies as st

from eventwire.transport import TopicSpec
from eventwire.transports.amqp import names

PARTS = st.text(alphabet="ab.p0%-é", min_size=1, max_size=6) | st.sampled_from(
    ["p0", "undelivered", "undelivered-2", "a.p0", "%70"]
)


def test_names_are_as_documented() -> None:
    ordered, unordered = TopicSpec("shop.v1", partitions=2, ordered=True), TopicSpec("shop.v1", partitions=2)
    assert names.exchange(ordered) == "shop.v1"
    assert names.queues(ordered, "billing") == ("shop.v1.billing.p0", "shop.v1.billing.p1")
    assert names.queues(unordered, "billing") == ("shop.v1.billing",)
    assert names.queues(TopicSpec("dead", queue=True), "billing") == ("dead",)
    assert names.undelivered(ordered, "billing") == "shop.v1.billing.undelivered-2"
    assert names.undelivered(unordered, "billing") == "shop.v1.billing.undelivered"
    assert [names.binding(ordered, 1), names.binding(unordered, 0)] == ["p1.#", "#"]


@given(st.lists(st.tuples(PARTS, PARTS, st.booleans()), unique=True, min_size=2, max_size=2))
def test_two_groups_never_share_a_queue(both: list[tuple[str, str, bool]]) -> None:
    used = [
        {*names.queues(spec, group), names.undelivered(spec, group)}
        for name, group, ordered in both
        for spec in [TopicSpec(name, partitions=2, ordered=ordered)]
    ]
    assert not used[0] & used[1]


@given(st.text(min_size=1), st.text(min_size=1))
def test_long_names_fit_and_differ(name: str, other: str) -> None:
    long, longer = "é" * 200 + name, "é" * 200 + name + other
    fitted = names.fitted(long)
    assert len(fitted.encode()) <= 255
    assert fitted != names.fitted(longer)


def test_short_names_stay() -> None:
    assert names.fitted("n" * 255) == "n" * 255
    assert names.fitted("n" * 256) != "n" * 256
