"""Every name that a stub uses, spelled so that no class body shadows it."""

import builtins
from collections.abc import Iterable, Iterator, Mapping

from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FileDescriptorProto

from eventwire_gen.python_names import checker_name, checker_path, import_source, is_name, pb2_module

# Declared in the bodies of generated classes beside what the file itself declares.
_BODY = frozenset(
    {
        "DESCRIPTOR",
        "Name",
        "Value",
        "ValueType",
        "keys",
        "values",
        "items",
        "HasField",
        "ClearField",
        "WhichOneof",
    }
)


class Names:
    """Imports and local references of one stub.

    Python looks a name in an annotation up in the class body first. So nothing is imported under a name that
    the file declares anywhere, and a top-level class that some class body shadows gets an alias at the end.
    """

    def __init__(
        self, file: FileDescriptorProto, files: Mapping[str, FileDescriptorProto], package: str | None
    ) -> None:
        self._current = pb2_module(file.name)
        self._package = package
        self._inner = {*_BODY, *_inner_names(file)}
        self._taken = {*self._inner, *_top_names(file)}
        for public in public_files(file, files):
            self._taken |= set(_top_names(public))
        self._imported: dict[tuple[str, str], str] = {}
        self._froms: dict[str, list[str]] = {}
        self._aliases: dict[str, str] = {}

    def builtin(self, name: str) -> str:
        """Return the expression for builtin ``name``."""
        return self.use("builtins", name) if name in self._taken else name

    def use(self, source: str, name: str) -> str:
        """Return the local name of ``name`` from module ``source``, spelled as in an import statement."""
        key = source, name
        if key not in self._imported:
            local = self.unused(name)
            self._imported[key] = local
            self._froms.setdefault(source, []).append(name if local == name else f"{name} as {local}")
        return self._imported[key]

    def generated(self, proto: str, path: str) -> str | None:
        """Return the expression for class ``path`` (``A.B``) of a ``.proto`` file, None if it has none."""
        module = pb2_module(proto)
        if module == self._current:
            return self.own(path)
        first, dot, rest = checker_path(path).partition(".")
        source = import_source(module, self._current, self._package)
        return None if source is None else self.use(source, first) + dot + rest

    def own(self, path: str) -> str:
        """Return the expression for class ``path`` of the stub's own file."""
        first, dot, rest = checker_path(path).partition(".")
        return self._local(first) + dot + rest

    def reexport(self, proto: str, names: list[str]) -> None:
        """Import ``names`` of another file so that they are this module's own: ``import public``."""
        source = import_source(pb2_module(proto), self._current, self._package)
        if source is not None and names:
            self._froms.setdefault(source, []).extend(f"{name} as {name}" for name in names)

    def unused(self, name: str) -> str:
        """Return ``name``, or a longer one, that nothing else in the file has."""
        while name in self._taken or not is_name(name) or hasattr(builtins, name):
            name += "_"
        self._taken.add(name)
        return name

    def imports(self) -> list[str]:
        """Return the import statements of all that was asked for."""
        return [
            f"from {source} import {', '.join(sorted(set(names)))}"
            for source, names in sorted(self._froms.items())
        ]

    def aliases(self) -> list[str]:
        """Return the assignments that belong at the module's end."""
        return [f"{alias} = {name}" for name, alias in self._aliases.items()]

    def _local(self, name: str) -> str:
        if name not in self._inner:
            return name
        if name not in self._aliases:
            self._aliases[name] = self.unused(name)
        return self._aliases[name]


def public_files(
    file: FileDescriptorProto, files: Mapping[str, FileDescriptorProto]
) -> Iterator[FileDescriptorProto]:
    """Yield the files whose names ``file`` re-exports, each once."""
    seen: set[str] = set()
    waiting = [file.dependency[index] for index in file.public_dependency]
    while waiting:
        name = waiting.pop(0)
        if name in files and name not in seen:
            seen.add(name)
            yield files[name]
            waiting.extend(files[name].dependency[index] for index in files[name].public_dependency)


def exported_names(file: FileDescriptorProto) -> list[str]:
    """Return the names that a star import of the file's module brings."""
    return [name for name in _top_names(file) if name == checker_name(name)]


def field_number_name(field: str) -> str:
    """Return the name of the constant that holds a field's number."""
    return field.upper() + "_FIELD_NUMBER"


def _top_names(file: FileDescriptorProto) -> Iterator[str]:
    for message in file.message_type:
        yield checker_name(message.name)
        yield message.name
    yield from _enum_names(file.enum_type)
    for extension in file.extension:
        yield extension.name
        yield field_number_name(extension.name)


def _enum_names(enums: Iterable[EnumDescriptorProto]) -> Iterator[str]:
    for enum in enums:
        yield enum.name
        yield checker_name(enum.name)
        yield from (value.name for value in enum.value)


def _inner_names(file: FileDescriptorProto) -> Iterator[str]:
    for enum in file.enum_type:
        yield from (value.name for value in enum.value)
    for message in file.message_type:
        yield from _body_names(message)


def _body_names(message: DescriptorProto) -> Iterator[str]:
    for field in (*message.field, *message.extension):
        yield field.name
        yield field_number_name(field.name)
    yield from _enum_names(message.enum_type)
    for nested in message.nested_type:
        yield nested.name
        yield checker_name(nested.name, nested=True)
        yield from _body_names(nested)
