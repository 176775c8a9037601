"""From the view model to text, with Jinja."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from traceback import extract_tb
from typing import Any

from jinja2 import (
    Environment,
    FileSystemLoader,
    StrictUndefined,
    Template,
    TemplateError,
    TemplateSyntaxError,
)

from eventwire_gen import arguments, layout
from eventwire_gen.faults import Refused
from eventwire_gen.python_names import module_path
from eventwire_gen.view import EventView, FileView, TopicView

_SUFFIX = ".jinja"
_OURS = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True)
class Renderer:
    """The templates of one run by the name of what they write, without `.jinja`."""

    templates: dict[str, Template]

    @classmethod
    def of(cls, folder: Path | None) -> Renderer:
        """Load our templates and the user's `folder`, whose files go before ours; raises Refused.

        A name that starts with "_" is only there to be included by others.
        """
        folders = [_OURS] if folder is None else [folder, _OURS]
        environment = _environment(folders)
        names = sorted({path.name for each in folders for path in each.glob(f"*{_SUFFIX}") if path.is_file()})
        own = (name for name in names if not name.startswith("_"))
        return cls({name.removesuffix(_SUFFIX): _loaded(environment, name) for name in own})

    def outputs(self, file: FileView) -> Iterator[tuple[str, str]]:
        """Path and content of each file that the templates write for one .proto file; raises Refused."""
        stem = file.module.removesuffix("_eventwire")
        for name, template in self.templates.items():
            try:
                yield f"{module_path(stem, '')}_{name}", template.render(file=file)
            except Exception as error:  # a template's expressions raise what they like
                line = _line(error, template.filename)
                text = str(error) if isinstance(error, TemplateError) else f"{type(error).__name__}: {error}"
                raise Refused(f"{template.filename}:{line}:1: {text} (for {file.source})") from error


def _loaded(environment: Environment, name: str) -> Template:
    try:
        return environment.get_template(name)
    except TemplateSyntaxError as error:
        raise Refused(f"{error.filename or error.name}:{error.lineno}:1: {error.message}") from error
    except UnicodeDecodeError as error:
        raise Refused(f"template {name} is no UTF-8 text: {error}") from error


def _line(error: Exception, template: str | None) -> int:
    frames = extract_tb(error.__traceback__)
    return next((frame.lineno or 1 for frame in reversed(frames) if frame.filename == template), 1)


def _environment(folders: list[Path]) -> Environment:
    environment = Environment(  # noqa: S701  the output is Python, not HTML
        loader=FileSystemLoader(folders),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= _FUNCTIONS
    return environment


def _exports(file: FileView) -> tuple[str, ...]:
    constants = {topic.constant for topic in file.topics} | {
        e.constant for t in file.topics for e in t.events
    }
    classes = (name for topic in file.topics for name in (topic.publisher, topic.handler, topic.sync_handler))
    return (*sorted(constants), *sorted(classes))


def _key_type(topic: TopicView) -> str:
    key = topic.events[0].key
    return "int" if key is None else {"STRING": "str", "BYTES": "bytes"}.get(key.kind, "int")


def _topic_doc(topic: TopicView, first: str) -> str:
    comment = ("", *topic.comment) if topic.comment else ()
    deprecated = ("", "Deprecated.") if topic.deprecated else ()
    return layout.docstring((first, *comment, *deprecated), 4)


def _event_doc(event: EventView) -> str:
    comment = event.comment or (f"Handle {event.type}.",)
    deprecated = ("", "Deprecated.") if event.deprecated else ()
    return layout.docstring((*comment, *deprecated), 8)


_FUNCTIONS: dict[str, Any] = {
    "docstring": layout.docstring,
    "event_arguments": arguments.event_arguments,
    "event_constant": layout.event_constant,
    "event_doc": _event_doc,
    "exports": _exports,
    "handler_class": layout.handler_class,
    "key_type": _key_type,
    "literal": layout.literal,
    "method": layout.method,
    "publisher_class": layout.publisher_class,
    "runtime_names": arguments.runtime_names,
    "statement": layout.statement,
    "topic_constant": layout.topic_constant,
    "topic_arguments": arguments.topic_arguments,
    "topic_doc": _topic_doc,
}
"""What templates may call besides Jinja's own."""
