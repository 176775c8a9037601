"""The names that a generated module defines, made from those in the .proto file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from eventwire_gen.faults import Faults, Place

RUNTIME_NAMES = (
    "Context",
    "DataFormat",
    "DeadLetterPolicy",
    "Event",
    "FieldKind",
    "FieldPath",
    "Handler",
    "HeaderField",
    "Ordering",
    "Publisher",
    "Receipt",
    "RetryMode",
    "RetryPolicy",
    "Sender",
    "SyncHandler",
    "Topic",
    "UnknownEvents",
    "WireFormat",
)
"""What a generated module may import from `eventwire`."""

MODULE_NAMES = ("annotations", "codecs", "import_module", "TYPE_CHECKING")
"""What else a generated module's top level may hold."""

_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def snake(name: str) -> str:
    """`OrderPlaced`, `orderPlaced` and `order_placed` are `order_placed`; `HTTPError` is `http_error`."""
    return _WORD_START.sub("_", name).lower()


def constant(*names: str) -> str:
    """A constant's name: `OrderPlaced` is `ORDER_PLACED`."""
    return "_".join(snake(name) for name in names).upper()


def pascal(*names: str) -> str:
    """A class's name: `orders` is `Orders`, `Outer` and `Orders` are `OuterOrders`."""
    return "".join(
        part[:1].upper() + part[1:] for name in names for part in (name.split("_") if name else ())
    )


def handler(name: str) -> str:
    """The handler method of an event: `OrderPlaced` and `order_placed` are `on_order_placed`."""
    return f"on_{snake(name)}"


@dataclass(frozen=True, slots=True)
class TopicNames:
    """What a generated module defines for one topic."""

    constant: str
    publisher: str
    handler: str
    sync_handler: str
    events: tuple[str, ...]


@dataclass(slots=True)
class ModuleNames:
    """The names of one generated module, each given out once."""

    faults: Faults
    taken: dict[str, str] = field(
        default_factory=lambda: dict.fromkeys((*RUNTIME_NAMES, *MODULE_NAMES), "eventwire itself")
    )

    def topic(self, place: Place, nested: Sequence[str]) -> TopicNames:
        """Take the names of a topic's own; a clash is a fault, since renaming one would surprise its users."""
        stem = pascal(*nested)
        names = TopicNames(
            constant=constant(*nested),
            publisher=f"{stem}Publisher",
            handler=f"{stem}Handler",
            sync_handler=f"{stem}SyncHandler",
            events=(),
        )
        self._take(
            place, ".".join(nested), (names.constant, names.publisher, names.handler, names.sync_handler)
        )
        return names

    def _take(self, place: Place, topic: str, names: tuple[str, ...]) -> None:
        clashes = [name for name in names if name in self.taken]
        if clashes:
            text = f"topic {topic} would generate {', '.join(clashes)}, which {self.taken[clashes[0]]} has already"
            self.faults.add(place, f"{text}: rename the message")
        self.taken.update(dict.fromkeys(names, f"topic {topic}"))

    def event(self, topic: TopicNames, name: Sequence[str]) -> str:
        """Take an event's constant; where an earlier topic of the file has it, the topic's name goes before it."""
        plain = f"{constant(*name)}_EVENT"
        chosen = plain if plain not in self.taken else f"{topic.constant}_{plain}"
        while chosen in self.taken:
            chosen += "_"
        self.taken[chosen] = topic.constant
        return chosen
