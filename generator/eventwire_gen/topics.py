"""Topics: checked as a whole, and turned into the view model."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.descriptor import FieldDescriptor

from eventwire_gen import events, messages, policies, samples, succession
from eventwire_gen.faults import Place
from eventwire_gen.messages import Classes
from eventwire_gen.names import ModuleNames, TopicNames
from eventwire_gen.options import event_options, event_place, has_settings, topic_options, topic_place
from eventwire_gen.python_names import Imports
from eventwire_gen.redaction import redacted
from eventwire_gen.run import Run
from eventwire_gen.schema import Declared, declared_in
from eventwire_gen.shape import Member, Shape, topics_in
from eventwire_gen.view import VERSION, EventView, FileView, PathView, TopicView

_STANDARD = ("from importlib import", "from typing import")


def read_file(run: Run, name: str, module: str) -> FileView | None:
    """The view of a file for the generated `module`, None if it has no topic; faults are added to the run's."""
    topics = topics_in(run, name)
    if not topics:
        return None
    given = ModuleNames(run.faults)
    named = [_name(given, topic) for topic in topics]
    imports = Imports(module, run.settings.package)
    imports.reserve([*given.taken, *(member.handler for topic in topics for member in topic.members)])
    classes = Classes(run.settings.backend, imports)
    views = tuple(_topic(run, topic, names, classes) for topic, names in zip(topics, named, strict=True))
    return FileView(
        version=VERSION,
        source=name,
        package=run.schema.files[name].package,
        module=module,
        messages=run.settings.backend.name,
        standard_imports=tuple(line for line in imports.statements() if line.startswith(_STANDARD)),
        imports=tuple(line for line in imports.statements() if not line.startswith(_STANDARD)),
        topics=views,
    )


def check_events(run: Run, generated: Iterable[str]) -> None:
    """Add faults of event and field options in `generated` files to the run's: a topic elsewhere may use them."""
    for name in generated:
        for declared in declared_in(run.schema.files[name]):
            if topic_options(declared.proto) is None and has_settings(declared.proto):
                events.check_alone(run, declared)


def check_names(run: Run, generated: Iterable[str]) -> None:
    """Add topics of one name to the run's faults, at those in `generated` files."""
    first: dict[str, Declared] = {}
    own = set(generated)
    for file in sorted(run.schema.files.values(), key=lambda file: file.name in own):
        for declared in declared_in(file):
            options = topic_options(declared.proto)
            if options is None or not options.name:
                continue
            known = first.setdefault(options.name, declared)
            if known is not declared and file.name in own:
                text = f'topic name "{options.name}" is already that of {known.full_name} ({known.file.name})'
                run.faults.add(topic_place(declared.place, "name"), text)


def _name(given: ModuleNames, topic: Shape) -> TopicNames:
    names = given.topic(topic.declared.place, topic.declared.nested)
    constants = tuple(given.event(names, member.name) for member in topic.members)
    return TopicNames(names.constant, names.publisher, names.handler, names.sync_handler, constants)


def _topic(run: Run, topic: Shape, names: TopicNames, classes: Classes) -> TopicView:
    messages.check(run, topic)
    policies.check(run, topic)
    samples.check(run, topic)
    succession.check(run, topic)
    keys = events.keys(run, topic)
    views = tuple(
        _event(run, topic, member, (constant, classes.expression(member.message)), key)
        for member, constant, key in zip(topic.members, names.events, keys, strict=True)
    )
    _check_types(run, topic)
    ordering = _ordering(run, topic, keyed=all(keys) and bool(keys))
    _check_compact(run, topic, keyed=all(keys) and bool(keys))
    return _view(run, topic, names, views, ordering)


def _event(run: Run, topic: Shape, member: Member, names: tuple[str, str], key: PathView | None) -> EventView:
    message, field = member.message, member.field
    constant, expression = names
    events.check(run, message)
    return EventView(
        type=events.event_type(message),
        full_name=message.full_name,
        message=expression,
        constant=constant,
        handler=member.handler,
        member=field.name if field else None,
        json_name=field.json_name if field else None,
        number=field.number if field else None,
        delimited=field is not None and _delimited(run, topic, field.name),
        key=key,
        id=events.id_path(run, message),
        subject=events.subject_path(run, message),
        time=events.time_path(run, message),
        headers=events.headers(run, message),
        redacted=redacted(run.schema, message),
        upcasts=tuple(event_options(message.proto).upcasts),
        deprecated=message.proto.options.deprecated,
        comment=run.comments.of(message.place),
    )


def _delimited(run: Run, topic: Shape, member: str) -> bool:
    descriptor = run.schema.descriptor(topic.declared)
    return bool(descriptor.fields_by_name[member].type == FieldDescriptor.TYPE_GROUP)


def _view(
    run: Run, topic: Shape, names: TopicNames, views: tuple[EventView, ...], ordering: str
) -> TopicView:
    options, declared = topic.options, topic.declared
    return TopicView(
        name=options.name,
        full_name=declared.full_name,
        package=declared.file.package,
        constant=names.constant,
        publisher=names.publisher,
        handler=names.handler,
        sync_handler=names.sync_handler,
        events=views,
        envelope=topic.envelope,
        partitions=options.partitions or 1,
        retention=policies.seconds(options.retention) if options.HasField("retention") else None,
        compact=options.compact,
        ordering=ordering,
        retry=policies.retry(topic),
        dead_letter=policies.dead_letter(topic),
        unknown_events=policies.enum_name(options, "unknown_events", options.unknown_events) or "SKIP",
        wire_format=policies.enum_name(options, "wire_format", options.wire_format) or "CLOUDEVENTS",
        data_format=policies.enum_name(options, "data_format", options.data_format) or "PROTOBUF",
        accept=tuple(policies.enum_name(options, "accept", number) for number in options.accept),
        broker=options.broker or "default",
        external=options.external,
        owner=options.owner or None,
        tags=tuple(options.tags),
        samples=tuple(options.sample),
        replaces=options.replaces or None,
        deprecated=declared.proto.options.deprecated,
        comment=run.comments.of(declared.place),
    )


def _check_types(run: Run, topic: Shape) -> None:
    known: dict[str, str] = {}
    for member in topic.members:
        kind, name = events.event_type(member.message), member.message.full_name
        if known.setdefault(kind, name) != name:
            text = f'type "{kind}" of {name} is already that of {known[kind]} in topic {topic.declared.full_name}'
            run.faults.add(_type_place(member), text)


def _type_place(member: Member) -> Place:
    return event_place(member.message.place, "type")


def _ordering(run: Run, topic: Shape, *, keyed: bool) -> str:
    chosen = policies.enum_name(topic.options, "ordering", topic.options.ordering)
    if chosen == "PER_KEY" and not keyed:
        run.faults.add(topic.at("ordering"), "ORDERING_PER_KEY needs a key: set key_field")
    ordering = chosen or ("PER_KEY" if keyed else "NONE")
    mode = policies.enum_name(topic.options.retry, "mode", topic.options.retry.mode)
    if ordering == "PER_KEY" and mode == "DELAYED":
        text = "RETRY_MODE_DELAYED lets later events of a key go ahead, but the topic is ordered per key"
        run.faults.add(topic.at("retry.mode"), f"{text}: use RETRY_MODE_IN_PLACE or ordering: ORDERING_NONE")
    return ordering


def _check_compact(run: Run, topic: Shape, *, keyed: bool) -> None:
    if not topic.options.compact:
        return
    if not keyed:
        run.faults.add(topic.at("compact"), "compact needs a key: set key_field")
    if len(topic.members) > 1:
        run.faults.add(
            topic.at("compact"), "compact needs a single event: keeping one per key would lose the others"
        )
    for member in topic.members:
        if member.handler == "on_tombstone":
            run.faults.add(
                member.place, "a compacted topic has on_tombstone already: name the event otherwise"
            )
