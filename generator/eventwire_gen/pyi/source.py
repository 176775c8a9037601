"""Small pieces of stub source."""

from collections.abc import Iterable, Iterator

from eventwire_gen.pyi.names import Names
from eventwire_gen.python_names import checker_name, is_name, is_special

_WIDTH = 100


def indented(lines: Iterable[str]) -> Iterator[str]:
    """Yield ``lines`` one level deeper; nothing becomes ``...``."""
    empty = True
    for line in lines:
        empty = False
        yield f"    {line}" if line else ""
    if empty:
        yield "    ..."


def written(name: str, nested: bool) -> str:
    """Return the name that a class statement gives to class ``name``."""
    return name if _is_private(name) else checker_name(name, nested)


def public_alias(name: str, names: Names) -> Iterator[str]:
    """Yield an alias for a private class, since other modules may not name it as it is."""
    if _is_private(name):
        yield f"{checker_name(name)}: {names.use('typing', 'TypeAlias')} = {name}"


def call(head: str, parameters: Iterable[str], tail: str) -> Iterator[str]:
    """Yield ``head(parameters)tail`` on one line, or on one line per parameter where that is too long."""
    listed = list(parameters)
    line = f"{head}({', '.join(listed)}){tail}"
    if len(line) <= _WIDTH:
        yield line
        return
    yield f"{head}("
    yield from (f"    {parameter}," for parameter in listed)
    yield f"){tail}"


def _is_private(name: str) -> bool:
    return is_name(name) and name.startswith("_") and not is_special(name)
