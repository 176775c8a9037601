"""How a generated module gets at the message classes of each backend, and what the backend cannot do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import Message

from eventwire_gen.backends import BETTERPROTO, Backend, Capability, able
from eventwire_gen.options import numbers
from eventwire_gen.python_names import Imports, pb2_module
from eventwire_gen.run import Run
from eventwire_gen.schema import Declared
from eventwire_gen.shape import Shape

_VALIDATE = 1159
"""The number of buf.validate's extensions (buf/validate/validate.proto)."""


@dataclass(frozen=True, slots=True)
class Classes:
    """The message classes that one generated module uses."""

    backend: Backend
    imports: Imports

    def expression(self, message: Declared) -> str:
        """The Python expression for a message's class; its import is noted."""
        if not self.backend.whole_packages:
            return self.imports.message(pb2_module(message.file.name), ".".join(message.nested))
        return self.imports.message(message.file.package, _class_name(self.backend)("_".join(message.nested)))


def check(run: Run, topic: Shape) -> None:
    """Add what the backend cannot do for a topic to the run's faults, with the backends that can."""
    backend = run.settings.backend
    for member in topic.members:
        for capability, what in _asked(member.message):
            if not backend.can(capability):
                text = f"messages={backend.name} cannot do {capability.value} ({what})"
                run.faults.add(member.place, f"{text}; messages={' or '.join(able(capability))} can")


def _asked(message: Declared) -> Iterator[tuple[Capability, str]]:
    file = message.file
    if file.package == "google.protobuf":
        yield Capability.WELL_KNOWN_EVENTS, message.full_name
    if not file.package:
        yield Capability.NO_PACKAGE, file.name
    if _is_edition(file):
        yield Capability.EDITIONS, file.name
    elif file.syntax != "proto3":
        yield Capability.PROTO2, file.name
    if _has_rules(message):
        yield Capability.VALIDATION, message.full_name


def _is_edition(file: FileDescriptorProto) -> bool:
    return file.syntax == "editions"


def _has_rules(message: Declared) -> bool:
    proto = message.proto
    options: list[Message] = [
        proto.options,
        *(f.options for f in proto.field),
        *(o.options for o in proto.oneof_decl),
    ]
    return any(_VALIDATE in numbers(each) for each in options)


def _class_name(backend: Backend) -> Callable[[str], str]:
    # Each compiler has its own rules for class names; it is there whenever its messages are being made.
    if backend is BETTERPROTO:
        from betterproto.compile.naming import pythonize_class_name as betterproto_name  # noqa: PLC0415

        return betterproto_name
    from betterproto2_compiler.compile.naming import pythonize_class_name  # noqa: PLC0415

    return pythonize_class_name
