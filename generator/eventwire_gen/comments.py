"""Comments of .proto files as text for docstrings."""

from __future__ import annotations

from textwrap import dedent

from google.protobuf.descriptor_pb2 import FileDescriptorProto

from eventwire_gen.faults import Place


class Comments:
    """Leading comments by declaration; a file is indexed when it is first asked for."""

    def __init__(self) -> None:
        self._files: dict[str, dict[tuple[int, ...], str]] = {}

    def of(self, place: Place) -> tuple[str, ...]:
        """The lines of the comment before a declaration, without indentation and blank ends."""
        comments = self._files.get(place.file.name)
        if comments is None:
            comments = self._files[place.file.name] = _leading(place.file)
        text = dedent(comments.get(place.path, "").expandtabs(4))
        lines = [line.rstrip() for line in text.strip().splitlines()]
        return tuple(lines)


def _leading(file: FileDescriptorProto) -> dict[tuple[int, ...], str]:
    return {
        tuple(location.path): decoded(location.leading_comments)
        for location in file.source_code_info.location
        if location.leading_comments
    }


def decoded(comment: str) -> str:
    """A comment as text: protoc passes on one that is no UTF-8, and protobuf's Python gives that as bytes."""
    given: object = comment
    return given.decode(errors="replace") if isinstance(given, bytes) else comment
