"""How a generated module gets at the message classes of each backend, and what the backend cannot do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import Message

from eventwire.v1.options_pb2 import DATA_FORMAT_JSON
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
    if topic.options.data_format == DATA_FORMAT_JSON and not backend.can(Capability.JSON):
        run.faults.add(topic.at("data_format"), _text(backend, Capability.JSON))
    for member in topic.members:
        for capability in _asked(member.message):
            if not backend.can(capability):
                run.faults.add(member.place, f"{member.message.full_name}: {_text(backend, capability)}")


def _text(backend: Backend, capability: Capability) -> str:
    others = " or ".join(f"messages={name}" for name in able(capability))
    return f"messages={backend.name} cannot do {capability.value}; {others} can"


def _asked(message: Declared) -> Iterator[Capability]:
    file = message.file
    if file.package == "google.protobuf":
        yield Capability.WELL_KNOWN_EVENTS
    if not file.package:
        yield Capability.NO_PACKAGE
    if _is_edition(file):
        yield Capability.EDITIONS
    elif file.syntax != "proto3":
        yield Capability.PROTO2
    if _has_rules(message):
        yield Capability.VALIDATION


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
        from betterproto.compile.naming import pythonize_class_name as betterproto_name  # noqa: PLC0415  loaded only where it is needed

        return betterproto_name
    from betterproto2_compiler.compile.naming import pythonize_class_name  # noqa: PLC0415  loaded only where it is needed

    return pythonize_class_name
