"""Enums as a type checker should see them."""

from collections.abc import Iterator, Sequence

from google.protobuf.descriptor_pb2 import EnumDescriptorProto

from eventwire_gen.pyi.comments import Comments
from eventwire_gen.pyi.names import Names
from eventwire_gen.pyi.source import indented, public_alias, written
from eventwire_gen.python_names import MESSAGE_ATTRIBUTES, MODULE_ATTRIBUTES, is_name

# What every value or the enum itself has: values of these names are reached by `Value("real")`.
_INHERITED = frozenset(dir(int)) | {"Name", "Value", "keys", "values", "items", "DESCRIPTOR"}

_TOP_LEVEL = 2  # the length of a path in the file itself


def enum_lines(
    enum: EnumDescriptorProto, own: str, path: Sequence[int], names: Names, comments: Comments
) -> Iterator[str]:
    """Yield an enum. `own` is the expression for its class, which is the type of its values.

    The metaclass has the methods of EnumTypeWrapper, which is what stands there at run time. That an enum
    cannot be called is told by the type of the constructor's argument.
    """
    wrapper, nested = names.unused(f"_{enum.name}Wrapper"), len(path) > _TOP_LEVEL
    hidden = MESSAGE_ATTRIBUTES if nested else MODULE_ATTRIBUTES
    yield f"class {wrapper}({names.builtin('type')}):"
    yield from indented(_wrapper_methods(own, names))
    yield f"class {written(enum.name, nested)}({names.builtin('int')}, metaclass={wrapper}):"
    yield from indented(comments.docstring(path, deprecated=enum.options.deprecated))
    yield from indented(_members(enum, own, path, names, comments))
    yield from public_alias(enum.name, names)
    yield from (
        f"{each.name}: {own}" for each in enum.value if is_name(each.name) and each.name not in hidden
    )


def _wrapper_methods(own: str, names: Names) -> Iterator[str]:
    number, text = names.builtin("int"), names.builtin("str")
    many, pair = names.builtin("list"), names.builtin("tuple")
    yield f"DESCRIPTOR: {names.use('google.protobuf.descriptor', 'EnumDescriptor')}"
    yield f"def Name(self, number: {number}) -> {text}: ..."
    yield f"def Value(self, name: {text} | {names.builtin('bytes')}) -> {own}: ..."
    yield f"def keys(self) -> {many}[{text}]: ..."
    yield f"def values(self) -> {many}[{own}]: ..."
    yield f"def items(self) -> {many}[{pair}[{text}, {own}]]: ..."


def _members(
    enum: EnumDescriptorProto, own: str, path: Sequence[int], names: Names, comments: Comments
) -> Iterator[str]:
    values = {value.name for value in enum.value}
    if "ValueType" not in values:
        yield f"ValueType: {names.use('typing', 'TypeAlias')} = {own}"
    yield f"def __new__(cls, never: {names.use('typing', 'Never')}, /) -> {own}: ..."
    for index, value in enumerate(enum.value):
        if is_name(value.name) and value.name not in _INHERITED:
            yield f"{value.name}: {names.use('typing', 'ClassVar')}[{own}]"
            yield from comments.docstring((*path, 2, index), deprecated=value.options.deprecated)
