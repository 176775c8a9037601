"""Publish random messages of each generated topic and compare what its handlers get: `carry.py FOLDER URL`.

A process of its own, because public files' messages are registered once per process. Prints how many topics and events
it carried; ends with an error when one got lost, or arrived as other bytes.
"""

import asyncio
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any, TypeAlias, cast

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from eventwire import Bus, Context, Handler, Publisher, Topic, Worker

_ROUNDS = 3
_DEPTH = 4
_PATIENCE = 60.0

Carried: TypeAlias = tuple[str, type, bytes]
"""The topic's name, the event's class and its bytes."""


class Stub:
    """The generated module of one topic."""

    def __init__(self, path: Path) -> None:
        self._module = importlib.import_module(f"{path.parent.name}.{path.stem}")
        self._name = path.stem.removesuffix("_eventwire").replace("e", "Topic")
        self.topic: Topic[Any] = getattr(self._module, self._name.upper())

    def publisher(self, bus: Bus) -> Publisher[Any]:
        made: Publisher[Any] = getattr(self._module, f"{self._name}Publisher")(bus)
        return made

    def handler(self, log: "Log") -> Handler:
        """The generated handler with every method overridden, as an application would."""

        async def on(_: Handler, event: Message, context: Context) -> None:
            log.note(event, context)

        generated: type[Handler] = getattr(self._module, f"{self._name}Handler")
        methods = {event.handler: on for event in self.topic.events}
        recording = type("Recording", (generated,), methods)()
        assert isinstance(recording, Handler)
        return recording


class Log:
    """What handlers got, by event id; `complete` is set once it is as many as expected."""

    def __init__(self, expected: int) -> None:
        self.got: dict[str, Carried] = {}
        self.complete = asyncio.Event()
        self._expected = expected

    def note(self, event: Message, context: Context) -> None:
        self.got[context.id] = carried(context.topic, event)
        if len(self.got) == self._expected:
            self.complete.set()


def carried(topic: Topic[Any], event: Message) -> Carried:
    return topic.name, type(event), event.SerializeToString(deterministic=True)


def filled(message: Message, random: Random, depth: int = 0) -> Message:
    """The message with about half of its fields set to random values."""
    for field in message.DESCRIPTOR.fields:
        if random.random() < 0.5 and not (field.message_type and depth == _DEPTH):
            _fill(message, cast("FieldDescriptor", field), random, depth)
    return message


def _fill(message: Message, field: FieldDescriptor, random: Random, depth: int) -> None:
    value = getattr(message, field.name)
    if field.message_type is None:
        if field.is_repeated:
            value.extend(_scalar(field, random) for _ in range(3))
        else:
            setattr(message, field.name, _scalar(field, random))
    elif field.message_type.GetOptions().map_entry:
        _fill_map(value, field.message_type.fields_by_name, random, depth)
    elif field.is_repeated:
        for _ in range(2):
            filled(value.add(), random, depth + 1)
    else:
        value.SetInParent()
        filled(value, random, depth + 1)


def _fill_map(value: Any, fields: Any, random: Random, depth: int) -> None:
    key = _scalar(fields["key"], random)
    if fields["value"].message_type:
        filled(value[key], random, depth + 1)
    else:
        value[key] = _scalar(fields["value"], random)


def _scalar(field: FieldDescriptor, random: Random) -> object:
    if field.enum_type is not None:
        return random.choice(field.enum_type.values).number
    return _SCALARS[field.type](random)


def _int32(random: Random) -> int:
    return random.randrange(-(2**31), 2**31)


def _int64(random: Random) -> int:
    return random.randrange(-(2**63), 2**63)


def _real(random: Random) -> float:
    return random.uniform(-1e6, 1e6)


_Field = FieldDescriptor
_SCALARS: Mapping[int, Callable[[Random], object]] = {
    **dict.fromkeys((_Field.TYPE_INT32, _Field.TYPE_SINT32, _Field.TYPE_SFIXED32), _int32),
    **dict.fromkeys((_Field.TYPE_INT64, _Field.TYPE_SINT64, _Field.TYPE_SFIXED64), _int64),
    **dict.fromkeys((_Field.TYPE_UINT32, _Field.TYPE_FIXED32), lambda random: random.randrange(2**32)),
    **dict.fromkeys((_Field.TYPE_UINT64, _Field.TYPE_FIXED64), lambda random: random.randrange(2**64)),
    **dict.fromkeys((_Field.TYPE_FLOAT, _Field.TYPE_DOUBLE), _real),
    _Field.TYPE_BOOL: lambda random: random.random() < 0.5,
    _Field.TYPE_BYTES: lambda random: random.randbytes(random.randrange(20)),
    _Field.TYPE_STRING: lambda random: "".join(random.choices("az09 äß€😀\n", k=random.randrange(20))),
}


def events(stubs: list[Stub]) -> Iterator[tuple[Stub, Message]]:
    random = Random(1)  # noqa: S311 - the same events in every run
    for stub in stubs:
        for event in stub.topic.events:
            for _ in range(_ROUNDS):
                yield stub, filled(cast("type[Message]", event.message)(), random)


async def carry(url: str, stubs: list[Stub]) -> int:
    """How many events arrived as they were published."""
    sent = {f"e-{number}": each for number, each in enumerate(events(stubs))}
    expected = {id: carried(stub.topic, event) for id, (stub, event) in sent.items()}
    log = Log(len(sent))
    async with Bus(url, declare=True) as bus:
        await bus.declare(*(stub.topic for stub in stubs), groups=["public"])
        async with Worker(bus, *(stub.handler(log) for stub in stubs), group="public"):
            for id, (stub, event) in sent.items():
                await stub.publisher(bus).publish(event, id=id)
            async with asyncio.timeout(_PATIENCE):
                await log.complete.wait()
    different = [expected[id][:2] for id in expected if log.got.get(id) != expected[id]]
    if different:
        sys.exit(f"{len(different)} of {len(expected)} events changed on the way: {different[:5]}")
    return len(log.got)


def main(folder: str, url: str) -> None:
    sys.path.insert(0, folder)
    stubs = [Stub(path) for path in sorted(Path(folder).rglob("envelopes/*_eventwire.py"))]
    sys.stdout.write(f"{len(stubs)} topics, {asyncio.run(carry(url, stubs))} events\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
