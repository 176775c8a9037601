"""Mending and moving the imports that protoc writes.

protoc imports absolutely, from the output folder on, and spells some imports of paths that Python cannot: a folder
named by a keyword in a public import, and any part that is no identifier. Only whole lines before the descriptor are
touched; the descriptor itself is one line of bytes.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from google.protobuf.descriptor_pb2 import FileDescriptorProto

from eventwire_gen.python_names import has_keyword, is_external, pb2_module

_DESCRIPTOR = "\nDESCRIPTOR = "
_PLAIN = re.compile(
    r"^(from (?P<parent>\S.*?) )?import (?P<name>\S.*?_pb2) as (?P<alias>\S.*)$", re.MULTILINE
)
_LOADED = re.compile(r"^(?P<alias>\S.*?) = importlib\.import_module\('(?P<module>[^']+)'\)$", re.MULTILINE)
_STAR = re.compile(r"^from (?P<module>\S.*?_pb2) import \*$", re.MULTILINE)
_COPIED = re.compile(
    r"^try:\n  (?P<alias>\S.*?) = (?P<copy>.*)\nexcept AttributeError:\n  .* = \S.*?_pb2\.(?P<path>.*)$",
    re.MULTILINE,
)
_BUILT = re.compile(r"(BuildTopDescriptorsAndMessages\(DESCRIPTOR, ')(?P<module>[^']+)(', _globals\))")


@dataclass(frozen=True, slots=True)
class Imports:
    """The imports of one run, whose modules are below ``package``, if there is one.

    ``carried`` are serialized files by module that protobuf's Python does not have.
    """

    package: str | None
    carried: Mapping[str, bytes]

    def mend(self, source: str) -> str:
        """Return the text of a ``_pb2.py`` with imports that work where it will stand."""
        head, descriptor, rest = source.partition(_DESCRIPTOR)
        head = _COPIED.sub(self._copied, head)
        head = _LOADED.sub(self._loaded, head)
        head = _PLAIN.sub(self._imported, head)
        head = _STAR.sub(self._star, head)
        return head + descriptor + _BUILT.sub(self._built, rest)

    def _placed(self, module: str) -> str:
        return module if self.package is None or is_external(module) else f"{self.package}.{module}"

    def _built(self, found: re.Match[str]) -> str:
        return found[1] + self._placed(found["module"]) + found[3]

    def _loaded(self, found: re.Match[str]) -> str:
        return f"{_name(found['alias'])} = {_load(self._placed(found['module']))}"

    def _imported(self, found: re.Match[str]) -> str:
        module = ".".join(filter(None, [found["parent"], found["name"]]))
        placed, alias = self._placed(module), found["alias"]
        if has_keyword(placed):
            return f"import importlib\n{_name(alias)} = {_load(placed)}"
        parent, _, name = placed.rpartition(".")
        line = f"from {parent} import {name} as {alias}" if parent else f"import {name} as {alias}"
        return self._carried(line, alias, self.carried[module]) if module in self.carried else line

    def _carried(self, line: str, alias: str, file: bytes) -> str:
        needed = "__import__('google.protobuf.descriptor_pb2')"
        added = f"_descriptor_pool.Default().AddSerializedFile({file!r})"
        return f"try:\n  {line}\nexcept ImportError:\n  {needed}\n  {alias} = {added}"

    def _star(self, found: re.Match[str]) -> str:
        placed = self._placed(found["module"])
        if not has_keyword(placed):
            return f"from {placed} import *"
        public = f"vars({_load(placed)}).items() if not name.startswith('_')"
        return f"import importlib\nglobals().update((name, value) for name, value in {public})"

    def _copied(self, found: re.Match[str]) -> str:
        # The second branch serves modules of protoc 2; it names the path as attributes, which a keyword cannot be.
        if not has_keyword(found["path"]):
            return found[0]
        holder, _, name = found["copy"].partition("_pb2.")
        return f"{_name(found['alias'])} = {_name(holder + '_pb2')}.{_name(name)}"


def carried(files: Iterable[FileDescriptorProto]) -> dict[str, bytes]:
    """Return those of ``files`` that only declare features of other languages; editions import them all the same."""
    found: dict[str, bytes] = {}
    for file in files:
        if file.name.startswith("google/protobuf/") and file.name.endswith("_features.proto"):
            bare = FileDescriptorProto()
            bare.CopyFrom(file)
            bare.ClearField("source_code_info")
            found[pb2_module(file.name)] = bare.SerializeToString(deterministic=True)
    return found


def _load(module: str) -> str:
    return f"importlib.import_module({module!r})"


def _name(alias: str) -> str:
    name = re.sub(r"\W", "_", alias)
    return name if name.isidentifier() else f"_{name}"
