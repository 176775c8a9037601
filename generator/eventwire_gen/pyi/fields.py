"""The Python types of a field: what reading it gives, what the constructor takes, what may be assigned."""

from collections.abc import Iterable, Iterator, Mapping

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FeatureSet,
    FieldDescriptorProto,
    FileDescriptorProto,
)

from eventwire_gen.pyi.names import Names, public_files

_CONTAINERS = "google.protobuf.internal.containers"
_SCALARS = {
    FieldDescriptorProto.TYPE_DOUBLE: "float",
    FieldDescriptorProto.TYPE_FLOAT: "float",
    FieldDescriptorProto.TYPE_BOOL: "bool",
    FieldDescriptorProto.TYPE_STRING: "str",
    FieldDescriptorProto.TYPE_BYTES: "bytes",
}
_MESSAGES = (FieldDescriptorProto.TYPE_MESSAGE, FieldDescriptorProto.TYPE_GROUP)

_Converted = tuple[str | None, str, str]
# What protobuf converts for its well-known types: module (None: a builtin), name, type arguments.
_CONVERTED: Mapping[str, _Converted] = {
    ".google.protobuf.Timestamp": ("datetime", "datetime", ""),
    ".google.protobuf.Duration": ("datetime", "timedelta", ""),
    ".google.protobuf.Struct": (None, "dict", "[{str}, {any}]"),
    ".google.protobuf.ListValue": (None, "list", "[{any}]"),
}
# Of the converted types, these may be assigned as they are; otherwise no message can be assigned to a field.
_ASSIGNED_ITSELF = (".google.protobuf.Struct", ".google.protobuf.ListValue")


class Types:
    """The message and enum types that one file sees, and the Python types of its fields."""

    def __init__(
        self, file: FileDescriptorProto, files: Mapping[str, FileDescriptorProto], names: Names
    ) -> None:
        self._file = file
        self._names = names
        self._places: dict[str, tuple[str, str]] = {}
        self._entries: dict[str, DescriptorProto] = {}
        for seen in _visible(file, files):
            self._index(seen)

    def entry(self, field: FieldDescriptorProto) -> DescriptorProto | None:
        """Return the map entry type of a map field."""
        return self._entries.get(field.type_name) if field.type == FieldDescriptorProto.TYPE_MESSAGE else None

    def is_message(self, field: FieldDescriptorProto) -> bool:
        """Tell whether a value of the field is a message."""
        return field.type in _MESSAGES

    def is_container(self, field: FieldDescriptorProto) -> bool:
        """Tell whether the attribute is an object to change in place: a message, a list or a map."""
        return self.is_message(field) or field.label == FieldDescriptorProto.LABEL_REPEATED

    def extendee(self, extension: FieldDescriptorProto) -> str:
        """Return the message type that an extension extends."""
        return self._message(extension.extendee)

    def value(self, field: FieldDescriptorProto) -> str:
        """Return the type of one value of the field."""
        if self.is_message(field):
            return self._message(field.type_name)
        if field.type == FieldDescriptorProto.TYPE_ENUM:
            return self._enum(field.type_name)
        return self._names.builtin(_SCALARS.get(field.type, "int"))

    def read(self, field: FieldDescriptorProto) -> str:
        """Return the type of the attribute."""
        entry = self.entry(field)
        if entry is not None:
            key, value = self._pair(entry)
            kind = "MessageMap" if self.is_message(value) else "ScalarMap"
            return f"{self._names.use(_CONTAINERS, kind)}[{self.value(key)}, {self.value(value)}]"
        if field.label != FieldDescriptorProto.LABEL_REPEATED:
            return self.value(field)
        kind = "RepeatedCompositeFieldContainer" if self.is_message(field) else "RepeatedScalarFieldContainer"
        return f"{self._names.use(_CONTAINERS, kind)}[{self.value(field)}]"

    def argument(self, field: FieldDescriptorProto) -> str:
        """Return the type of the constructor's argument."""
        entry = self.entry(field)
        if entry is not None:
            key, value = self._pair(entry)
            accepted = f"{self._use('collections.abc', 'Mapping')}[{self.value(key)}, {self.value(value)}]"
        else:
            accepted = self._accepted(field)
            if field.label == FieldDescriptorProto.LABEL_REPEATED:
                accepted = f"{self._use('collections.abc', 'Iterable')}[{accepted}]"
        return f"{accepted} | None"

    def assigned(self, field: FieldDescriptorProto) -> str | None:
        """Return the type of what may be assigned to a message field, None for nothing."""
        converted = self._converted(field.type_name)
        if converted is None or field.label == FieldDescriptorProto.LABEL_REPEATED:
            return None
        return f"{self.value(field)} | {converted}" if field.type_name in _ASSIGNED_ITSELF else converted

    def has_presence(self, field: FieldDescriptorProto) -> bool:
        """Tell whether ``HasField`` takes the field (protobuf's docs/field_presence.md)."""
        if field.label == FieldDescriptorProto.LABEL_REPEATED:
            return False
        if self.is_message(field) or field.HasField("oneof_index"):
            return True
        if self._file.syntax != "editions":
            return self._file.syntax != "proto3"
        features = [field.options.features, self._file.options.features]
        chosen = [f.field_presence for f in features if f.field_presence != FeatureSet.FIELD_PRESENCE_UNKNOWN]
        return not chosen or chosen[0] != FeatureSet.IMPLICIT

    def _accepted(self, field: FieldDescriptorProto) -> str:
        converted = self._converted(field.type_name)
        if converted is not None:
            return f"{self.value(field)} | {converted}"
        if field.type == FieldDescriptorProto.TYPE_ENUM:
            return f"{self.value(field)} | {self._names.builtin('str')}"
        return self.value(field)

    def _converted(self, type_name: str) -> str | None:
        if type_name not in _CONVERTED:
            return None
        module, name, arguments = _CONVERTED[type_name]
        if module is not None:
            return self._use(module, name)
        any_type = self._use("typing", "Any")
        return self._names.builtin(name) + arguments.format(str=self._names.builtin("str"), any=any_type)

    def _use(self, module: str, name: str) -> str:
        return self._names.use(module, name)

    def _message(self, type_name: str) -> str:
        return self._named(type_name) or self._use("google.protobuf.message", "Message")

    def _enum(self, type_name: str) -> str:
        name = self._named(type_name)
        if name is None:
            return self._names.builtin("int")
        # types-protobuf has mypy-protobuf's enums: the class holds the values, their type is within.
        return f"{name}.ValueType" if type_name.startswith(".google.protobuf.") else name

    def _named(self, type_name: str) -> str | None:
        if type_name not in self._places:
            return None
        return self._names.generated(*self._places[type_name])

    def _pair(self, entry: DescriptorProto) -> tuple[FieldDescriptorProto, FieldDescriptorProto]:
        key, value = sorted(entry.field, key=lambda field: field.number)
        return key, value

    def _index(self, file: FileDescriptorProto) -> None:
        root = f".{file.package}" if file.package else ""
        for path, declared in _declared(file.message_type, file.enum_type):
            full_name = f"{root}.{path}"
            self._places[full_name] = file.name, path
            if isinstance(declared, DescriptorProto) and declared.options.map_entry:
                self._entries[full_name] = declared


def _visible(
    file: FileDescriptorProto, files: Mapping[str, FileDescriptorProto]
) -> Iterator[FileDescriptorProto]:
    yield file
    for name in file.dependency:
        if name in files:
            yield files[name]
            yield from public_files(files[name], files)


def _declared(
    messages: Iterable[DescriptorProto], enums: Iterable[EnumDescriptorProto], outer: str = ""
) -> Iterator[tuple[str, DescriptorProto | EnumDescriptorProto]]:
    for enum in enums:
        yield outer + enum.name, enum
    for message in messages:
        yield outer + message.name, message
        yield from _declared(message.nested_type, message.enum_type, f"{outer}{message.name}.")
