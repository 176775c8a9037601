"""The files of one request: their messages by name, and resolved descriptors of those that matter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool

from eventwire_gen.faults import Place

_FILE_MESSAGES = FileDescriptorProto.MESSAGE_TYPE_FIELD_NUMBER
_NESTED_MESSAGES = DescriptorProto.NESTED_TYPE_FIELD_NUMBER


class SchemaError(Exception):
    """protobuf's Python cannot load a file that the compiler accepted."""

    def __init__(self, file: FileDescriptorProto, text: str) -> None:
        super().__init__(text)
        self.file = file


@dataclass(frozen=True, slots=True)
class Declared:
    """A message as its file declares it. `nested` are its names from the top level of the file on."""

    place: Place
    proto: DescriptorProto
    full_name: str
    nested: tuple[str, ...]

    @property
    def file(self) -> FileDescriptorProto:
        """The file it stands in."""
        return self.place.file


@dataclass(slots=True)
class Schema:
    """All files of a request. Descriptors are built when asked for, with the files they need and no others."""

    files: Mapping[str, FileDescriptorProto]
    messages: Mapping[str, Declared]
    pool: DescriptorPool = field(default_factory=DescriptorPool)
    _loaded: set[str] = field(default_factory=set[str])

    @classmethod
    def of(cls, files: Iterable[FileDescriptorProto]) -> Schema:
        """Index `files`, which stand in the order of a request: each after those it imports."""
        by_name = {file.name: file for file in files}
        messages = {
            declared.full_name: declared for file in by_name.values() for declared in declared_in(file)
        }
        return cls(by_name, messages)

    def descriptor(self, declared: Declared) -> Descriptor:
        """The message with its features, presence and types resolved; raises SchemaError."""
        self._load(declared.file.name)
        return self.pool.FindMessageTypeByName(declared.full_name)

    def _load(self, name: str) -> None:
        if name in self._loaded:
            return
        needed = self._closure(name)
        for file in self.files.values():
            if file.name in needed:
                self._add(file)

    def _closure(self, name: str) -> set[str]:
        needed: set[str] = set()
        waiting = [name]
        while waiting:
            file = self.files.get(waiting.pop())
            if file is not None and file.name not in needed and file.name not in self._loaded:
                needed.add(file.name)
                waiting.extend(file.dependency)
        return needed

    def _add(self, file: FileDescriptorProto) -> None:
        try:
            self.pool.AddSerializedFile(file.SerializeToString())
        except TypeError as error:
            raise SchemaError(file, f"protobuf's Python cannot load this file: {error}") from error
        self._loaded.add(file.name)


def declared_in(file: FileDescriptorProto) -> Iterator[Declared]:
    """All messages of a file, each before those nested in it; map entries are left out."""
    prefix = f"{file.package}." if file.package else ""
    for index, message in enumerate(file.message_type):
        yield from _declared(Place(file, (_FILE_MESSAGES, index)), message, prefix, ())


def _declared(
    place: Place, proto: DescriptorProto, prefix: str, outer: tuple[str, ...]
) -> Iterator[Declared]:
    nested = (*outer, proto.name)
    yield Declared(place, proto, prefix + ".".join(nested), nested)
    for index, inner in enumerate(proto.nested_type):
        if not inner.options.map_entry:
            yield from _declared(place.inside(_NESTED_MESSAGES, index), inner, prefix, nested)
