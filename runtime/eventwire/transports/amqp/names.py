"""How topics and groups are named on RabbitMQ.

    topic NAME                     topic exchange NAME
    group, ordered topic           one queue NAME.GROUP.p0, NAME.GROUP.p1, ... per partition
    group, unordered topic         one queue NAME.GROUP
    what passed the delivery limit queue NAME.GROUP.undelivered, NAME.GROUP.undelivered-PARTITIONS where ordered
    topic that is a queue          exchange NAME and queue NAME
    ... whose messages wait        exchange NAME and queue NAME.waiting, which passes them on to queue NAME
    suspects, unordered topic      queue NAME.GROUP.suspects; of a topic that is a queue NAME.suspects
    who handles which suspect      queue QUEUE.mark, beside each partition's and each suspects' queue

Any name may be chosen, and the map is injective. RabbitMQ takes any text, its Python client (pamqp) only ASCII letters,
digits and `-_.:@#,/+ `, of at most 127 characters for an exchange and AMQP's 255 for a queue:

    any other character, and `#`   its UTF-8 bytes, each as `#` and two hexadecimal digits: `a!b` is `a#21b`
    a topic `amq.ANYTHING`         `#61mq.ANYTHING`: RabbitMQ keeps names that begin with `amq.` to itself
    a topic without a name         `#`: the exchange without a name is RabbitMQ's own
    `.` in a group's name          `#2E`, so that a group's part of a name has no dot
    a group `p0`, `undelivered`,   `#700`, `#75ndelivered`, ...: it would be the last part of another queue
    `suspects`, `mark`, `waiting`
    a name that is too long        its beginning, `##` and a hash of all of it; nothing else contains `##`

The number of partitions stands in a name because the broker compares the names of dead-letter queues when a queue is
declared again, and so refuses another number.
A queue topic that is named exactly as a group's queue is refused by the broker, because their arguments differ.
"""

from __future__ import annotations

import hashlib
import re

from eventwire.transport import TopicSpec

_EXCHANGE = 127
"""Characters of an exchange's name: the domain `exchange-name` of the AMQP 0-9-1 definition, which pamqp enforces."""
_QUEUE = 255
"""AMQP 0-9-1 section 4.2.5.3: short strings, such as names and routing keys, have at most 255 bytes."""
_FOREIGN = re.compile(r"[^A-Za-z0-9_.:@,/+ -]", re.ASCII)
_RESERVED = re.compile(r"p\d+|undelivered(-\d+)?|suspects|mark|waiting", re.ASCII)


def exchange(topic: TopicSpec) -> str:
    """The topic's exchange."""
    return _fitted(_topic(topic), _EXCHANGE)


def queues(topic: TopicSpec, group: str) -> tuple[str, ...]:
    """The group's queues, by partition."""
    if topic.queue:
        return (_fitted(_topic(topic), _QUEUE),)
    own = f"{_topic(topic)}.{_group(group)}"
    if not topic.ordered:
        return (_fitted(own, _QUEUE),)
    return tuple(_fitted(f"{own}.p{partition}", _QUEUE) for partition in range(topic.partitions))


def undelivered(topic: TopicSpec, group: str) -> str:
    """The queue that keeps what the broker gave up delivering to the group."""
    count = f"-{topic.partitions}" if topic.ordered else ""
    return _fitted(f"{_topic(topic)}.{_group(group)}.undelivered{count}", _QUEUE)


def waiting(topic: TopicSpec) -> str:
    """The queue in which messages of a delayed topic wait."""
    return _fitted(f"{_topic(topic)}.waiting", _QUEUE)


def entry(topic: TopicSpec) -> str:
    """The queue of a topic that is a queue which takes what is published."""
    return waiting(topic) if topic.delay else queues(topic, "")[0]


def suspects(topic: TopicSpec, group: str) -> str | None:
    """The queue of what was in flight when a process ended; None for ordered topics, where it stays in its place."""
    if topic.queue:
        return _fitted(f"{_topic(topic)}.suspects", _QUEUE)
    return None if topic.ordered else _fitted(f"{_topic(topic)}.{_group(group)}.suspects", _QUEUE)


def one_by_one(topic: TopicSpec, group: str) -> tuple[str, ...]:
    """The queues that have one reader at a time, and so can be read one message at a time: each has a mark."""
    own = suspects(topic, group)
    return queues(topic, group) if own is None else (own,)


def mark(queue: str) -> str:
    """The queue whose only message tells which suspect of a queue is being handled."""
    return _fitted(f"{queue}.mark", _QUEUE)


def everything(topic: TopicSpec, group: str) -> tuple[str, ...]:
    """All queues that a group needs to read the topic."""
    single = one_by_one(topic, group)
    held = (waiting(topic),) if topic.delay else ()
    return tuple(dict.fromkeys((*queues(topic, group), *held, *single, *map(mark, single))))


def binding(topic: TopicSpec, partition: int) -> str:
    """The routing keys that the group's queue of a partition takes."""
    return f"p{partition}.#" if topic.ordered and not topic.queue else "#"


def _topic(topic: TopicSpec) -> str:
    text = _FOREIGN.sub(_escape, topic.name)
    return _escaped(text[0]) + text[1:] if text.startswith("amq.") else text or "#"


def _group(group: str) -> str:
    text = _FOREIGN.sub(_escape, group).replace(".", _escaped("."))
    return _escaped(text[0]) + text[1:] if _RESERVED.fullmatch(text) else text


def _escape(found: re.Match[str]) -> str:
    return _escaped(found[0])


def _escaped(letter: str) -> str:
    return "".join(f"#{byte:02X}" for byte in letter.encode(errors="surrogatepass"))


def _fitted(name: str, limit: int) -> str:
    """The name, or where it is too long its beginning and a hash of all of it."""
    if len(name) <= limit:
        return name
    mark = "##" + hashlib.sha256(name.encode()).hexdigest()[:32]
    return name[: limit - len(mark)] + mark
