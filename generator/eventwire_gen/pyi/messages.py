"""Messages and extensions as a type checker should see them."""

from collections.abc import Container, Iterable, Iterator, Sequence

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto

from eventwire_gen.pyi.comments import Comments
from eventwire_gen.pyi.enums import enum_lines
from eventwire_gen.pyi.fields import Types
from eventwire_gen.pyi.names import Names, field_number_name
from eventwire_gen.pyi.source import call, indented, public_alias, written
from eventwire_gen.python_names import MESSAGE_ATTRIBUTES, is_name


class Messages:
    """Writes the messages and extensions of one file."""

    def __init__(self, names: Names, types: Types, comments: Comments) -> None:
        self._names = names
        self._types = types
        self._comments = comments

    def message(self, message: DescriptorProto, path: Sequence[int], outer: str = "") -> Iterator[str]:
        """Yield the class of ``message``, at ``path`` of the file and within class ``outer`` (``A.``)."""
        base = self._names.use("google.protobuf.message", "Message")
        yield f"class {written(message.name, nested=bool(outer))}({base}):"
        yield from indented(self._body(message, tuple(path), f"{outer}{message.name}."))
        yield from public_alias(message.name, self._names)

    def extensions(
        self, extensions: Iterable[FieldDescriptorProto], path: Sequence[int], hidden: Container[str] = ()
    ) -> Iterator[str]:
        """Yield the handles that ``message.Extensions[...]`` takes, but those whose name is ``hidden``."""
        for index, field in enumerate(extensions):
            if is_name(field.name) and field.name not in hidden:
                handle = self._names.use("eventwire.extension", "ExtensionFieldDescriptor")
                yield f"{field.name}: {handle}[{self._types.extendee(field)}, {self._types.read(field)}]"
                yield from self._comments.docstring((*path, index), deprecated=field.options.deprecated)

    def _body(self, message: DescriptorProto, path: tuple[int, ...], scope: str) -> Iterator[str]:
        yield from self._comments.docstring(path, deprecated=message.options.deprecated)
        for index, enum in enumerate(message.enum_type):
            own = self._names.own(scope + enum.name)
            yield from enum_lines(enum, own, (*path, 4, index), self._names, self._comments)
        for index, nested in enumerate(message.nested_type):
            if not nested.options.map_entry:
                yield from self.message(nested, (*path, 3, index), scope)
        yield from self.extensions(message.extension, (*path, 6), hidden=MESSAGE_ATTRIBUTES)
        yield from self.numbers((*message.field, *message.extension), _declared(message))
        for index, field in enumerate(message.field):
            if is_name(field.name) and field.name not in MESSAGE_ATTRIBUTES:
                yield from self._attribute(field, (*path, 2, index))
        yield from self._constructor(message)
        yield from self._presence(message)

    def numbers(self, fields: Iterable[FieldDescriptorProto], taken: Container[str]) -> Iterator[str]:
        """Yield the constants of the fields' numbers, but those whose name is ``taken``."""
        numbers = {field_number_name(field.name): field.number for field in fields}
        for name, number in numbers.items():
            if name not in taken:
                yield f"{name}: {self._names.use('typing', 'Final')} = {number}"

    def _attribute(self, field: FieldDescriptorProto, path: Sequence[int]) -> Iterator[str]:
        text = self._comments.docstring(path, deprecated=field.options.deprecated)
        read = self._types.read(field)
        if not self._types.is_container(field):
            yield f"{field.name}: {read}"
            yield from text
            return
        yield f"@{self._names.builtin('property')}"
        yield f"def {field.name}(self) -> {read}:" + ("" if text else " ...")
        yield from indented(text) if text else ()
        assigned = self._types.assigned(field)
        if assigned is not None:
            yield f"@{field.name}.setter"
            yield f"def {field.name}(self, value: {assigned}) -> None: ..."

    def _constructor(self, message: DescriptorProto) -> Iterator[str]:
        fields = [field for field in message.field if is_name(field.name)]
        receiver = [_receiver({field.name for field in fields})]
        arguments = [f"{field.name}: {self._types.argument(field)} = None" for field in fields]
        star = ["*"] if arguments else []
        yield from call("def __init__", [*receiver, *star, *arguments], " -> None: ...")

    def _presence(self, message: DescriptorProto) -> Iterator[str]:
        oneofs = _oneofs(message)
        present = [field.name for field in message.field if self._types.has_presence(field)]
        yield from self._by_name("HasField", [*present, *oneofs], "bool")
        yield from self._by_name("ClearField", [*(field.name for field in message.field), *oneofs], None)
        for name, members in oneofs.items():
            if len(oneofs) > 1:
                yield f"@{self._names.use('typing', 'overload')}"
            result = f"{self._literal(members)} | None"
            yield from call(
                "def WhichOneof", ["self", f"oneof_group: {self._literal([name])}"], f" -> {result}: ..."
            )

    def _by_name(self, method: str, allowed: Sequence[str], returned: str | None) -> Iterator[str]:
        accepted = self._literal(allowed) if allowed else self._names.use("typing", "Never")
        result = "None" if returned is None else self._names.builtin(returned)
        yield from call(f"def {method}", ["self", f"field_name: {accepted}"], f" -> {result}: ...")

    def _literal(self, texts: Iterable[str]) -> str:
        quoted = ", ".join(f'"{text}"' for text in texts)
        return f"{self._names.use('typing', 'Literal')}[{quoted}]"


def _receiver(taken: Container[str]) -> str:
    name = "self"
    while name in taken:
        name = f"_{name}"
    return name


def _oneofs(message: DescriptorProto) -> dict[str, list[str]]:
    """Return the members of each oneof; those that stand for `optional` are the compiler's own."""
    members: dict[str, list[str]] = {}
    for field in message.field:
        if field.HasField("oneof_index") and not field.proto3_optional:
            members.setdefault(message.oneof_decl[field.oneof_index].name, []).append(field.name)
    return members


def _declared(message: DescriptorProto) -> set[str]:
    names = {field.name for field in (*message.field, *message.extension)}
    names |= {nested.name for nested in message.nested_type} | {enum.name for enum in message.enum_type}
    return names | {value.name for enum in message.enum_type for value in enum.value}
