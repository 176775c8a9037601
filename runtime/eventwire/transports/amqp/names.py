"""How topics and groups are named on RabbitMQ.

    topic NAME                     topic exchange NAME
    group, ordered topic           one queue NAME.GROUP.p0, NAME.GROUP.p1, ... per partition
    group, unordered topic         one queue NAME.GROUP
    what passed the delivery limit queue NAME.GROUP.undelivered, NAME.GROUP.undelivered-PARTITIONS where ordered
    topic that is a queue          exchange NAME and queue NAME

The map is injective: in a group's name everything but ASCII letters, digits, `_` and `-` is percent-encoded, so it has
no dot, and a group named like the last part of another queue (`p0`, `undelivered`) has its first letter encoded.
The number of partitions stands in a name because the broker compares the names of dead-letter queues when a queue is
declared again, and so refuses another number.
A queue topic that is named exactly as a group's queue is refused by the broker, because their arguments differ.
"""

from __future__ import annotations

import hashlib
import re

from eventwire.transport import TopicSpec

_LIMIT = 255
"""AMQP 0-9-1 section 4.2.5.3: short strings, such as names and routing keys, have at most 255 bytes."""
_PLAIN = re.compile(r"[A-Za-z0-9_-]")
_RESERVED = re.compile(r"p\d+|undelivered(-\d+)?")


def exchange(topic: TopicSpec) -> str:
    """The topic's exchange."""
    return fitted(topic.name)


def queues(topic: TopicSpec, group: str) -> tuple[str, ...]:
    """The group's queues, by partition."""
    if topic.queue:
        return (fitted(topic.name),)
    own = f"{topic.name}.{_segment(group)}"
    if not topic.ordered:
        return (fitted(own),)
    return tuple(fitted(f"{own}.p{partition}") for partition in range(topic.partitions))


def undelivered(topic: TopicSpec, group: str) -> str:
    """The queue that keeps what the broker gave up delivering to the group."""
    count = f"-{topic.partitions}" if topic.ordered else ""
    return fitted(f"{topic.name}.{_segment(group)}.undelivered{count}")


def binding(topic: TopicSpec, partition: int) -> str:
    """The routing keys that the group's queue of a partition takes."""
    return f"p{partition}.#" if topic.ordered and not topic.queue else "#"


def fitted(name: str) -> str:
    """The name, or where it is too long for AMQP its beginning and a hash of all of it."""
    data = name.encode()
    if len(data) <= _LIMIT:
        return name
    mark = "~" + hashlib.sha256(data).hexdigest()[:32]
    return data[: _LIMIT - len(mark)].decode(errors="ignore") + mark


def _segment(group: str) -> str:
    text = "".join(letter if _PLAIN.match(letter) else _encoded(letter) for letter in group)
    return _encoded(text[0]) + text[1:] if _RESERVED.fullmatch(text) else text


def _encoded(letter: str) -> str:
    return "".join(f"%{byte:02X}" for byte in letter.encode())
