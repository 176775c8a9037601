"""`replaces` and `upcasts`: the only places where the vocabulary refers to messages by name."""

from __future__ import annotations

from difflib import get_close_matches

from eventwire_gen.options import event_options, event_place, topic_options
from eventwire_gen.run import Run
from eventwire_gen.schema import Declared
from eventwire_gen.shape import Member, Shape, event_names


def check(run: Run, topic: Shape) -> None:
    """Add the faults of what a topic and its events say to succeed to the run's."""
    old = _replaced(run, topic)
    for member in topic.members:
        _check_upcasts(run, topic, member, old)


def _replaced(run: Run, topic: Shape) -> Declared | None:
    if not topic.options.HasField("replaces"):
        return None
    name = topic.options.replaces
    old = run.schema.messages.get(name)
    if old is None:
        near = _nearest(name, _other_topics(run, topic))
        text = f'replaces "{name}", which is in no file of this run{near or ": import its file"}'
    elif topic_options(old.proto) is None:
        text = f'replaces "{name}", which is no topic'
    elif old.full_name == topic.declared.full_name:
        text = f'replaces "{name}", which is the topic itself'
    else:
        return old
    run.faults.add(topic.at("replaces"), text)
    return None


def _other_topics(run: Run, topic: Shape) -> list[str]:
    own = topic.declared.full_name
    return [name for name, each in run.schema.messages.items() if name != own and topic_options(each.proto)]


def _check_upcasts(run: Run, topic: Shape, member: Member, old: Declared | None) -> None:
    message = member.message
    for index, name in enumerate(event_options(message.proto).upcasts):
        place = event_place(message.place, "upcasts", index)
        if not topic.options.HasField("replaces"):
            run.faults.add(place, f'upcasts "{name}", but topic {topic.declared.full_name} replaces none')
        elif old is not None and name not in (known := event_names(old)):
            near = _nearest(name, list(known))
            run.faults.add(place, f'upcasts "{name}", which is no event of {old.full_name}{near}')


def _nearest(name: str, known: list[str]) -> str:
    # By the last part: in full, all names of one package are alike.
    by_last = {full.rpartition(".")[2]: full for full in known}
    close = get_close_matches(name.rpartition(".")[2], by_last, n=1)
    return f', did you mean "{by_last[close[0]]}"?' if close else ""
