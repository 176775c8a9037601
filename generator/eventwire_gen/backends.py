"""The libraries that can make the message classes, and what each of them can do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Capability(Enum):
    """Something that a topic or its events may ask of the message classes."""

    PROTO2 = "messages of proto2 files"
    EDITIONS = "messages of edition files"
    WELL_KNOWN_EVENTS = "google.protobuf messages as events"
    NO_PACKAGE = "files without a package"
    JSON = "data_format: DATA_FORMAT_JSON"
    VALIDATION = "buf.validate rules"
    DYNAMIC_DECODE = "decoding with nothing but descriptors"
    TOMBSTONES = "tombstones of compacted topics"
    REDACTION = "debug_redact"


@dataclass(frozen=True, slots=True)
class Backend:
    """A message library: the `messages=` parameter's value and the module of `eventwire.codecs` have its name.

    `whole_packages`: it writes one Python module for a Protobuf package, which is only safe below a Python package of
    the user's own (at the root, its `google` and `eventwire` folders would hide the real ones).
    """

    name: str
    capabilities: frozenset[Capability]
    whole_packages: bool = False

    def can(self, capability: Capability) -> bool:
        """Whether the backend has `capability`."""
        return capability in self.capabilities


_COMMON = frozenset({Capability.TOMBSTONES, Capability.REDACTION})

PROTOBUF = Backend("protobuf", frozenset(Capability))
BETTERPROTO2 = Backend("betterproto2", _COMMON | {Capability.JSON}, whole_packages=True)
BETTERPROTO = Backend("betterproto", _COMMON, whole_packages=True)

BACKENDS: Mapping[str, Backend] = {backend.name: backend for backend in (PROTOBUF, BETTERPROTO2, BETTERPROTO)}


def able(capability: Capability) -> tuple[str, ...]:
    """The names of the backends that have `capability`."""
    return tuple(backend.name for backend in BACKENDS.values() if backend.can(capability))
