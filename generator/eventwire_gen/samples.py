"""The samples of a topic: valid ProtoJSON of the topic message, one per event at most."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventwire_gen.run import Run
from eventwire_gen.shape import Shape

if TYPE_CHECKING:
    from google.protobuf.message import Message


def check(run: Run, topic: Shape) -> None:
    """Add the faults of a topic's samples to the run's."""
    seen: set[str] = set()
    for index, sample in enumerate(topic.options.sample):
        try:
            message = _parse(run, topic, sample)
        except ValueError as error:
            run.faults.add(
                topic.at("sample", index), f"sample {index + 1} is no {topic.declared.full_name}: {error}"
            )
            continue
        event = message.WhichOneof("event") if topic.envelope else topic.declared.proto.name
        if event is None:
            run.faults.add(topic.at("sample", index), f"sample {index + 1} holds no event")
        elif event in seen:
            run.faults.add(topic.at("sample", index), f"sample {index + 1} is a second one for {event}")
        seen.add(event or "")


def _parse(run: Run, topic: Shape, sample: str) -> Message:
    # Few topics have samples: the two modules are a third of the generator's start-up.
    from google.protobuf import json_format  # noqa: PLC0415  loaded only where it is needed
    from google.protobuf.message_factory import GetMessageClass  # noqa: PLC0415  loaded only where it is needed

    if not sample.lstrip().startswith("{"):
        raise ValueError("no JSON object")
    message = GetMessageClass(run.schema.descriptor(topic.declared))()
    try:
        return json_format.Parse(sample, message, descriptor_pool=run.schema.pool)
    except json_format.ParseError as error:
        raise ValueError(" ".join(str(error).split())) from error
