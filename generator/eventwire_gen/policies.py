"""A topic's numbers and names: in range and consistent with each other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from string import Formatter
from typing import cast

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.duration_pb2 import Duration

from eventwire.v1 import options_pb2
from eventwire.v1.options_pb2 import TopicOptions
from eventwire_gen.options import unknown_numbers
from eventwire_gen.run import Run
from eventwire_gen.shape import Shape
from eventwire_gen.view import DeadLetterView, RetryView

DEFAULT_INITIAL_BACKOFF = 0.2
DEFAULT_MAX_BACKOFF = 30.0
_MAX_NANOS = 999_999_999
_PLACEHOLDERS = ("topic", "group")
_PORTABLE = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}")
_SHOWN = 60


def seconds(duration: Duration) -> float:
    """A duration in seconds."""
    return duration.seconds + duration.nanos / 1e9


def enum_name(options: TopicOptions | options_pb2.RetryPolicy, option: str, number: int) -> str:
    """An enum value without its prefix ("PER_KEY"), empty for the unspecified value or one that does not exist."""
    descriptor = _enum(options, option)
    value = descriptor.values_by_number.get(number)
    return "" if value is None or number == 0 else value.name.removeprefix(_prefix(descriptor))


def check(run: Run, topic: Shape) -> None:
    """Add the faults of a topic's own settings to the run's."""
    _check_name(run, topic)
    _check_amounts(run, topic)
    _check_retry(run, topic)
    _check_dead_letter(run, topic)
    _check_enums(run, topic)
    _check_accept(run, topic)
    for number in unknown_numbers(topic.options):
        text = (
            f"option number {number} of eventwire.v1 is unknown here: the .proto is newer than this generator"
        )
        run.faults.add(topic.at(), text)


def retry(topic: Shape) -> RetryView:
    """The retry options that are set."""
    options = topic.options.retry
    return RetryView(
        mode=enum_name(options, "mode", options.mode) or None,
        max_attempts=options.max_attempts if options.HasField("max_attempts") else None,
        initial_backoff=seconds(options.initial_backoff) if options.HasField("initial_backoff") else None,
        max_backoff=seconds(options.max_backoff) if options.HasField("max_backoff") else None,
        backoff_multiplier=options.backoff_multiplier if options.HasField("backoff_multiplier") else None,
        jitter=options.jitter if options.HasField("jitter") else None,
    )


def dead_letter(topic: Shape) -> DeadLetterView:
    """The dead letter options that are set."""
    options = topic.options.dead_letter
    return DeadLetterView(options.topic if options.HasField("topic") else None, options.disabled)


def _check_name(run: Run, topic: Shape) -> None:
    options = topic.options
    if not options.name:
        missing = "is empty" if options.HasField("name") else "is missing"
        run.faults.add(
            topic.at("name"), f'the name of topic {topic.declared.full_name} {missing}: add name: "..."'
        )
    elif not options.name.isprintable() or any(character.isspace() for character in options.name):
        run.faults.add(topic.at("name"), f"topic name {options.name!r} has blanks or control characters")
    elif not options.external and not _PORTABLE.fullmatch(options.name):
        run.faults.add(topic.at("name"), _unportable(options.name))
    if options.HasField("broker") and not options.broker:
        run.faults.add(topic.at("broker"), "broker is empty: leave it out for the default broker")


def _unportable(name: str) -> str:
    # org.apache.kafka.common.internals.Topic; RabbitMQ and SQLite take more.
    shown = f'"{name}"' if len(name) <= _SHOWN else f'"{name[:_SHOWN]}..." of {len(name.encode())} bytes'
    rule = 'Kafka takes 1 to 249 letters, digits, ".", "_" and "-", and neither "." nor ".."'
    return (
        f"topic name {shown} does not suit every broker: {rule}; external: true for one that is there already"
    )


def _check_amounts(run: Run, topic: Shape) -> None:
    options = topic.options
    if options.HasField("partitions") and options.partitions < 1:
        run.faults.add(topic.at("partitions"), f"partitions is {options.partitions}, it must be 1 or more")
    if options.HasField("retention") and seconds(options.retention) <= 0:
        run.faults.add(
            topic.at("retention"), f"retention is {seconds(options.retention):g} s, it must be above 0"
        )
    durations = {
        "retention": options.retention,
        "retry.initial_backoff": options.retry.initial_backoff,
        "retry.max_backoff": options.retry.max_backoff,
    }
    for name, duration in durations.items():
        if abs(duration.nanos) > _MAX_NANOS or duration.seconds * duration.nanos < 0:
            run.faults.add(topic.at(name), f"{name.split('.')[-1]} is no valid google.protobuf.Duration")


def _check_retry(run: Run, topic: Shape) -> None:
    policy = topic.options.retry
    if policy.HasField("max_attempts") and policy.max_attempts < 1:
        run.faults.add(
            topic.at("retry.max_attempts"), f"max_attempts is {policy.max_attempts}, it must be 1 or more"
        )
    if policy.HasField("backoff_multiplier") and not 1 <= policy.backoff_multiplier < float("inf"):
        text = f"backoff_multiplier is {policy.backoff_multiplier:g}, it must be 1 or more"
        run.faults.add(topic.at("retry.backoff_multiplier"), text)
    if policy.HasField("jitter") and not 0 <= policy.jitter <= 1:
        run.faults.add(topic.at("retry.jitter"), f"jitter is {policy.jitter:g}, it must be from 0 to 1")
    _check_backoff(run, topic)


def _check_backoff(run: Run, topic: Shape) -> None:
    policy = topic.options.retry
    initial = (
        seconds(policy.initial_backoff) if policy.HasField("initial_backoff") else DEFAULT_INITIAL_BACKOFF
    )
    longest = seconds(policy.max_backoff) if policy.HasField("max_backoff") else DEFAULT_MAX_BACKOFF
    if initial < 0:
        run.faults.add(
            topic.at("retry.initial_backoff"), f"initial_backoff is {initial:g} s, it must not be negative"
        )
    if longest < 0:
        run.faults.add(
            topic.at("retry.max_backoff"), f"max_backoff is {longest:g} s, it must not be negative"
        )
    elif initial > longest:
        option = "initial_backoff" if policy.HasField("initial_backoff") else "max_backoff"
        default = (
            ""
            if policy.HasField("initial_backoff") and policy.HasField("max_backoff")
            else ", the other by default"
        )
        text = f"initial_backoff ({initial:g} s) is above max_backoff ({longest:g} s){default}"
        run.faults.add(topic.at(f"retry.{option}"), text)


def _check_dead_letter(run: Run, topic: Shape) -> None:
    policy = topic.options.dead_letter
    if not policy.HasField("topic"):
        return
    place = topic.at("dead_letter.topic")
    for text in _template_faults(policy.topic):
        run.faults.add(place, f"dead_letter.topic {text}")
    if policy.disabled:
        run.faults.add(place, "dead_letter has a topic and is disabled: choose one")
    if policy.topic in {"{topic}", topic.options.name}:
        run.faults.add(place, "dead_letter.topic is the topic itself: its dead letters would be read again")


def _template_faults(template: str) -> Iterator[str]:
    if not template:
        yield "is empty: leave it out for the default"
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        yield f'"{template}": {error}'
        return
    for literal, name, form, conversion in parts:
        if literal and not _PORTABLE.fullmatch(f"x{literal}"):
            yield f'"{template}" has more than letters, digits, ".", "_" and "-", which is all that Kafka takes'
        if name is not None and (name not in _PLACEHOLDERS or form or conversion):
            yield f'"{template}" has the unknown placeholder "{{{name}}}"; there are {{topic}} and {{group}}'


def _check_enums(run: Run, topic: Shape) -> None:
    options = topic.options
    chosen = {
        "ordering": options.ordering,
        "unknown_events": options.unknown_events,
        "wire_format": options.wire_format,
        "data_format": options.data_format,
    }
    for option, number in chosen.items():
        if number and not enum_name(options, option, number):
            run.faults.add(topic.at(option), _unknown_value(options, option, number))
    mode = options.retry.mode
    if mode and not enum_name(options.retry, "mode", mode):
        run.faults.add(topic.at("retry.mode"), _unknown_value(options.retry, "mode", mode))


def _unknown_value(options: TopicOptions | options_pb2.RetryPolicy, option: str, number: int) -> str:
    descriptor = _enum(options, option)
    known = ", ".join(value.name for value in descriptor.values if value.number)
    return f"{option} is {number}, which eventwire.v1.{descriptor.name} does not have; there are {known}"


def _check_accept(run: Run, topic: Shape) -> None:
    options = topic.options
    seen: set[int] = {options.wire_format or options_pb2.WIRE_FORMAT_CLOUDEVENTS}
    for index, number in enumerate(options.accept):
        name = enum_name(options, "accept", number)
        if not name:
            text = "accept lists no format" if number == 0 else _unknown_value(options, "accept", number)
        elif number in seen:
            text = f"accept lists {name} twice, or it is the topic's own wire_format"
        else:
            seen.add(number)
            continue
        run.faults.add(topic.at("accept", index), text)


def _enum(options: TopicOptions | options_pb2.RetryPolicy, option: str) -> EnumDescriptor:
    return cast("EnumDescriptor", options.DESCRIPTOR.fields_by_name[option].enum_type)


def _prefix(descriptor: EnumDescriptor) -> str:
    return descriptor.values_by_number[0].name.removesuffix("UNSPECIFIED")
