"""Faults in a user's files: collected, so that one run reports all of them, each at the most exact place."""

from __future__ import annotations

from dataclasses import dataclass, field

from google.protobuf.descriptor_pb2 import FileDescriptorProto


class Refused(Exception):
    """The user's files, parameters or templates have faults; the text tells all of them, a line each."""


@dataclass(frozen=True, slots=True)
class Place:
    """A declaration in a file: `path` is that of `SourceCodeInfo.Location` (descriptor.proto)."""

    file: FileDescriptorProto
    path: tuple[int, ...] = ()

    def inside(self, *path: int) -> Place:
        """The place of something within this one."""
        return Place(self.file, self.path + path)


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One thing to mend. Line and column count from 1."""

    file: str
    line: int
    column: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.text}"


@dataclass(slots=True)
class Faults:
    """What is wrong with the files of one run."""

    _found: set[Fault] = field(default_factory=set[Fault])
    _spans: dict[str, dict[tuple[int, ...], tuple[int, int]]] = field(
        default_factory=dict[str, dict[tuple[int, ...], tuple[int, int]]]
    )

    def add(self, place: Place, text: str) -> None:
        """Report `text` at `place`, or at the innermost thing around it that the compiler gave a position for."""
        line, column = self._position(place)
        self._found.add(Fault(place.file.name, line, column, text))

    def __bool__(self) -> bool:
        return bool(self._found)

    def __str__(self) -> str:
        count = len(self._found)
        lines = [f"{count} fault{'s' if count > 1 else ''}", *map(str, sorted(self._found))]
        return "\n".join(lines)

    def _position(self, place: Place) -> tuple[int, int]:
        spans = self._spans.get(place.file.name)
        if spans is None:
            spans = self._spans[place.file.name] = _spans(place.file)
        for length in range(len(place.path), 0, -1):
            if found := spans.get(place.path[:length]):
                return found
        return 1, 1


def _spans(file: FileDescriptorProto) -> dict[tuple[int, ...], tuple[int, int]]:
    return {
        tuple(location.path): (location.span[0] + 1, location.span[1] + 1)
        for location in reversed(file.source_code_info.location)
        if len(location.span) > 1
    }
