"""Python source as `ruff format` would lay it out, for the few shapes that generated modules have."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from textwrap import dedent
from typing import TypeAlias

WIDTH = 110
_DEEPEST = 100
"""Operands of one union: pyright gives up on an expression of more than 256."""


@dataclass(frozen=True, slots=True)
class Group:
    """A call or a tuple: `start` is all before the first item."""

    start: str
    items: tuple[Node, ...]
    end: str = ")"

    def __str__(self) -> str:
        """The source on one line."""
        comma = "," if len(self.items) == 1 and self.start.endswith("=(") else ""
        return f"{self.start}{', '.join(map(str, self.items))}{comma}{self.end}"


Node: TypeAlias = Group | str


def lay_out(node: Node, indent: int) -> str:
    """The source of an argument at `indent` blanks, without the comma after it; exploded where it would be too long."""
    flat = str(node)
    if isinstance(node, str) or indent + len(flat) + 1 <= WIDTH:
        return flat
    inner = " " * (indent + 4)
    items = "".join(f"{inner}{lay_out(item, indent + 4)},\n" for item in node.items)
    return f"{node.start}\n{items}{' ' * indent}{node.end}"


def event_constant(name: str, message: str) -> str:
    """`name: Event[message] = Event(`, without the annotation, which can be inferred, where it would be too long."""
    annotated = f"{name}: Event[{message}] = Event("
    return annotated if len(annotated) <= WIDTH else f"{name} = Event("


def topic_constant(name: str, messages: Iterable[str]) -> str:
    """`name: Topic[A | B] = Topic(`, over several lines where it would be too long."""
    operands = tuple(messages)
    flat = f"{name}: Topic[{' | '.join(operands)}] = Topic("
    return flat if len(flat) <= WIDTH else f"{name}: Topic[\n{_union(operands, 4)}\n] = Topic("


def publisher_class(name: str, members: Iterable[str]) -> str:
    """`class name(Publisher[A | B]):`, over several lines where it would be too long."""
    operands = tuple(members)
    base = f"Publisher[{' | '.join(operands)}]"
    flat = f"class {name}({base}):"
    if len(flat) <= WIDTH:
        return flat
    if len(base) + 4 > WIDTH:
        base = f"Publisher[\n{_union(operands, 8)}\n    ]"
    return f"class {name}(\n    {base}\n):"


def handler_class(name: str, base: str, topic: str) -> str:
    """`class name(base, topic=topic):`, over several lines where it would be too long."""
    flat = f"class {name}({base}, topic={topic}):"
    return flat if len(flat) <= WIDTH else f"class {name}(\n    {base},\n    topic={topic},\n):"


def method(start: str, parameters: Iterable[str], result: str) -> str:
    """The first line of a method in a class, over several lines where it would be too long."""
    listed = tuple(parameters)
    flat = f"    {start}({', '.join(listed)}) -> {result}:"
    if len(flat) <= WIDTH:
        return flat
    inner = f"        {', '.join(listed)}"
    if len(inner) > WIDTH:
        inner = "\n".join(f"        {parameter}," for parameter in listed)
    return f"    {start}(\n{inner}\n    ) -> {result}:"


def statement(text: str) -> str:
    """An import statement, over several lines where it would be too long."""
    if len(text) <= WIDTH or "\n" in text or " import " not in text:
        return text
    head, names = text.split(" import ", 1)
    inner = "\n".join(f"    {name}," for name in names.split(", "))
    return f"{head} import (\n{inner}\n)"


def literal(text: str) -> str:
    """A string literal, in double quotes where that needs no escapes."""
    source = repr(text)
    return source if '"' in text else f'"{source[1:-1]}"'


def docstring(lines: Iterable[str], indent: int) -> str:
    """A docstring at `indent` blanks, safe for quotes, backslashes and control characters."""
    first, *rest = (_escape(line) for line in lines)
    margin = " " * indent
    if not rest:
        return f'{margin}"""{first}"""'
    body = "".join(f"\n{margin}{line}" if line else "\n" for line in dedent("\n".join(rest)).split("\n"))
    return f'{margin}"""{first}{body}\n{margin}"""'


def _escape(line: str) -> str:
    text = line.replace("\\", "\\\\")
    if text.startswith('"') or text.endswith('"') or '"""' in text:
        text = text.replace('"', '\\"')
    return "".join(character if _plain(character) else _code(character) for character in text)


def _plain(character: str) -> bool:
    return character.isprintable() or character.isspace()


def _code(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _union(operands: tuple[str, ...], indent: int) -> str:
    margin = " " * indent
    flat = f"{margin}{' | '.join(operands)}"
    if len(flat) <= WIDTH:
        return flat
    if len(operands) > _DEEPEST:
        parts = (operands[start : start + _DEEPEST] for start in range(0, len(operands), _DEEPEST))
        operands = tuple(f"(\n{_union(part, indent + 4)}\n{margin})" for part in parts)
    return margin + f"\n{margin}| ".join(operands)
