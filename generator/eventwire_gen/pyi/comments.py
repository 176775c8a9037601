"""Docstrings from the comments of a ``.proto`` file."""

from collections.abc import Sequence

from google.protobuf.descriptor_pb2 import FileDescriptorProto

from eventwire_gen.comments import decoded


class Comments:
    """The comments of one file, looked up by descriptor path (``SourceCodeInfo.Location.path``)."""

    def __init__(self, file: FileDescriptorProto) -> None:
        self._texts = {
            tuple(place.path): decoded(place.leading_comments or place.trailing_comments)
            for place in file.source_code_info.location
            if place.leading_comments or place.trailing_comments
        }

    def docstring(self, path: Sequence[int], deprecated: bool = False) -> list[str]:
        """Return the docstring's lines without indentation, none where there is nothing to say."""
        text = self._texts.get(tuple(path), "")
        lines = [line.removeprefix(" ").rstrip() for line in text.strip().split("\n")]
        if deprecated:
            lines = ["Deprecated.", *([""] if text.strip() else []), *lines]
        return quoted(lines) if any(lines) else []


def quoted(lines: Sequence[str]) -> list[str]:
    """Return ``lines`` as a docstring literal."""
    safe = [_escaped(line) for line in lines]
    while safe and not safe[-1]:
        safe.pop()
    closed = len(safe) == 1 and not safe[0].endswith('"')
    return [f'"""{safe[0]}"""'] if closed else [f'"""{safe[0]}', *safe[1:], '"""']


def _escaped(line: str) -> str:
    text = line.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\t" else c.encode("unicode_escape").decode() for c in text)
