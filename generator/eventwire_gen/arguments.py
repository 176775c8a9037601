"""The arguments of the constants in a generated module: what differs from the runtime's defaults."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from eventwire_gen.layout import Group, Node, lay_out, literal
from eventwire_gen.view import DeadLetterView, EventView, PathView, RetryView, TopicView

_INDENT = 4


def topic_arguments(topic: TopicView) -> tuple[str, ...]:
    """The source of each argument of `Topic(...)`, a line or more each."""
    return _lines(_topic(topic))


def event_arguments(event: EventView, topic: TopicView) -> tuple[str, ...]:
    """The source of each argument of `Event(...)`, a line or more each."""
    return _lines(_event(event, topic))


def runtime_names(topics: Iterable[TopicView]) -> tuple[str, ...]:
    """What a module with these topics imports from `eventwire`, in the order of an import statement."""
    always = ("Context", "Event", "Handler", "Publisher", "Sender", "SyncHandler", "Topic")
    return tuple(sorted({*always, *(name for topic in topics for name in _names(topic))}))


def _names(topic: TopicView) -> Iterator[str]:
    events = topic.events
    used = {
        "DataFormat": topic.data_format != "PROTOBUF",
        "DeadLetterPolicy": topic.dead_letter != DeadLetterView(),
        "FieldKind": any(event.key or event.id or event.subject for event in events),
        "FieldPath": any(event.key or event.id or event.subject for event in events),
        "HeaderField": any(event.headers for event in events),
        "Ordering": topic.ordering != "NONE",
        "Receipt": topic.compact,
        "RetryMode": topic.retry.mode not in {None, "IN_PLACE"},
        "RetryPolicy": topic.retry != RetryView(),
        "UnknownEvents": topic.unknown_events != "SKIP",
        "WireFormat": topic.wire_format != "CLOUDEVENTS" or bool(topic.accept),
    }
    return (name for name, needed in used.items() if needed)


def _lines(nodes: Iterable[Node]) -> tuple[str, ...]:
    return tuple(f"{' ' * _INDENT}{lay_out(node, _INDENT)}," for node in nodes)


def _topic(topic: TopicView) -> Iterator[Node]:
    yield f"name={literal(topic.name)}"
    yield f"full_name={literal(topic.full_name)}"
    yield f"package={literal(topic.package)}"
    yield Group("events=(", tuple(event.constant for event in topic.events))
    if topic.partitions != 1:
        yield f"partitions={topic.partitions}"
    if topic.retention is not None:
        yield f"retention={topic.retention!r}"
    if topic.compact:
        yield "compact=True"
    if topic.ordering != "NONE":
        yield f"ordering=Ordering.{topic.ordering}"
    yield from _policies(topic)
    yield from _contract(topic)
    yield from _description(topic)


def _policies(topic: TopicView) -> Iterator[Node]:
    if topic.retry != RetryView():
        yield Group("retry=RetryPolicy(", tuple(_retry(topic.retry)))
    if topic.dead_letter != DeadLetterView():
        yield Group("dead_letter=DeadLetterPolicy(", tuple(_dead_letter(topic.dead_letter)))
    if topic.unknown_events != "SKIP":
        yield f"unknown_events=UnknownEvents.{topic.unknown_events}"


def _contract(topic: TopicView) -> Iterator[Node]:
    if topic.wire_format != "CLOUDEVENTS":
        yield f"wire_format=WireFormat.{topic.wire_format}"
    if topic.data_format != "PROTOBUF":
        yield f"data_format=DataFormat.{topic.data_format}"
    if topic.accept:
        yield Group("accept=(", tuple(f"WireFormat.{name}" for name in topic.accept))


def _description(topic: TopicView) -> Iterator[Node]:
    if topic.broker != "default":
        yield f"broker={literal(topic.broker)}"
    if topic.external:
        yield "external=True"
    if topic.replaces is not None:
        yield f"replaces={literal(topic.replaces)}"
    if topic.owner is not None:
        yield f"owner={literal(topic.owner)}"
    if topic.tags:
        yield _strings("tags", topic.tags)
    if topic.samples:
        yield _strings("samples", topic.samples)


def _retry(retry: RetryView) -> Iterator[Node]:
    if retry.mode is not None and retry.mode != "IN_PLACE":
        yield f"mode=RetryMode.{retry.mode}"
    for name in ("max_attempts", "initial_backoff", "max_backoff", "backoff_multiplier", "jitter"):
        value: float | None = getattr(retry, name)
        if value is not None:
            yield f"{name}={value!r}"


def _dead_letter(policy: DeadLetterView) -> Iterator[Node]:
    if policy.topic is not None:
        yield f"topic={literal(policy.topic)}"
    if policy.disabled:
        yield "disabled=True"


def _event(event: EventView, topic: TopicView) -> Iterator[Node]:
    yield f"type={literal(event.type)}"
    yield f"full_name={literal(event.full_name)}"
    yield f"message={event.message}"
    yield f"codec=codecs.{'json' if topic.data_format == 'JSON' else 'binary'}({event.message})"
    yield f"handler={literal(event.handler)}"
    if event.member is not None:
        yield f"member={literal(event.member)}"
        yield f"json_name={literal(event.json_name or event.member)}"
        yield f"number={event.number}"
    if event.delimited:
        yield "delimited=True"
    yield from _paths(event)
    if event.redacted:
        yield _strings("redacted", event.redacted)
    if event.upcasts:
        yield _strings("upcasts", event.upcasts)


def _paths(event: EventView) -> Iterator[Node]:
    if event.key is not None:
        yield _path("key", event, event.key, "path")
    if event.id is not None:
        yield _path("id", event, event.id, "path")
    if event.subject is not None:
        yield _path("subject", event, event.subject, "text")
    if event.time is not None:
        yield f"time={_reader('timestamp', event, event.time)}"
    if event.headers:
        fields = (
            Group(
                "HeaderField(",
                (literal(header.name), literal(header.path), _reader("text", event, header.path)),
            )
            for header in event.headers
        )
        yield Group("headers=(", tuple(fields))


def _path(name: str, event: EventView, path: PathView, reader: str) -> Node:
    return Group(
        f"{name}=FieldPath(",
        (literal(path.path), f"FieldKind.{path.kind}", _reader(reader, event, path.path)),
    )


def _reader(function: str, event: EventView, path: str) -> str:
    return f"codecs.{function}({event.message}, {literal(path)})"


def _strings(name: str, values: tuple[str, ...]) -> Node:
    return Group(f"{name}=(", tuple(map(literal, values)))
