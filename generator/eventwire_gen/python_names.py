"""Where protoc's Python output puts a file's module, and how other modules import from it."""

import builtins
import keyword
from collections.abc import Iterable

from google.protobuf.message import Message

_WELL_KNOWN = {
    "any",
    "api",
    "duration",
    "empty",
    "field_mask",
    "source_context",
    "struct",
    "timestamp",
    "type",
    "wrappers",
}
_PROTOBUF_S_OWN = _WELL_KNOWN | {
    "descriptor",
    "compiler.plugin",
    "cpp_features",
    "go_features",
    "java_features",
}
_COMMON_FOLDERS = frozenset(
    f"google.{folder}"
    for folder in (
        *("api", "cloud", "cloud.location", "gapic.metadata", "logging.type", "longrunning"),
        *("rpc", "rpc.context", "type"),
    )
)
"""What googleapis-common-protos installs."""
MESSAGE_ATTRIBUTES = frozenset(dir(Message)) | {"Extensions", "DESCRIPTOR", "FromString"}
"""What every message class has: a stub that declares one of these anew contradicts Message."""
MODULE_ATTRIBUTES = frozenset(
    {"DESCRIPTOR", "__name__", "__file__", "__doc__", "__path__", "__dict__", "__spec__"}
)
"""What a module has whatever its file declares."""
_IMPORTABLE_BUILTINS = frozenset(dir(builtins))


def pb2_module(proto: str) -> str:
    """Return the module of a ``.proto`` file: ``a/b-c.proto`` is ``a.b_c_pb2`` (protoc's ``ModuleName``)."""
    stem = (
        proto.removesuffix(".protodevel") if proto.endswith(".protodevel") else proto.removesuffix(".proto")
    )
    return stem.replace("-", "_").replace("/", ".") + "_pb2"


def module_path(module: str, suffix: str = ".py") -> str:
    """Return the path of a module below the output folder."""
    return module.replace(".", "/") + suffix


def is_name(text: str) -> bool:
    """Tell whether ``text`` can be written as a name in Python source."""
    return text.isidentifier() and not keyword.iskeyword(text)


def is_special(name: str) -> bool:
    """Tell whether ``name`` has a meaning of its own to Python or its checkers: ``__all__``, ``__init__``, ``_``."""
    return (name.startswith("__") and name.endswith("__")) or name == "_"


def has_keyword(module: str) -> bool:
    """Tell whether no import statement can spell ``module``: a part is a keyword or no identifier."""
    return not all(is_name(part) for part in module.split("."))


def is_external(module: str) -> bool:
    """Tell whether ``module`` stays where the installed distributions put it, whatever the output's package.

    These are protobuf's own (not those for its tests), Eventwire's, and the common ones that Google's libraries share:
    a second copy of these would be a conflict as soon as one of those libraries is imported, too.
    """
    return is_shipped(module) or module.rpartition(".")[0] in _COMMON_FOLDERS


def is_shipped(module: str) -> bool:
    """Tell whether ``module`` comes with protobuf or Eventwire: a second one would hide it."""
    if module.startswith("eventwire.v1."):
        return True
    name = module.removeprefix("google.protobuf.").removesuffix("_pb2")
    return module.startswith("google.protobuf.") and name in _PROTOBUF_S_OWN


def checker_name(name: str, nested: bool = False) -> str:
    """Return the public name of class ``name`` in a ``.pyi``: a keyword is no name and ``_A`` is private.

    Nor can a class have the name of something that its module has already, or a nested one that of a method of
    Message. The public name exists for type checkers only: at run time ``getattr(module, "None")`` is the way to such
    a class.
    """
    taken = MESSAGE_ATTRIBUTES if nested else MODULE_ATTRIBUTES
    if is_name(name) and not name.startswith("_") and name not in taken:
        return name
    stem = name.lstrip("_")
    end = "_" * max(1, len(name) - len(stem))
    return f"{stem if stem[:1].isalpha() else f'M{stem}'}{end}"


def checker_path(path: str) -> str:
    """Return the public name of class ``path`` (``Outer.Inner``) in a ``.pyi``."""
    first, *rest = path.split(".")
    return ".".join([checker_name(first), *(checker_name(part, nested=True) for part in rest)])


def import_source(module: str, current: str, package: str | None) -> str | None:
    """Return what goes between ``from`` and ``import``, or None where no statement can name ``module``.

    A sibling is relative, since that works in every layout; across folders the import is absolute with the
    package prefix, because a relative import cannot climb past the top-level folder. A folder named by a
    keyword is reached relatively where both modules have the top-level folder in common.
    """
    here, there = current.split(".")[:-1], module.split(".")
    if here and here == there[:-1] and is_name(there[-1]) and not is_shipped(module):
        return "." + there[-1]
    absolute = module if package is None or is_external(module) else f"{package}.{module}"
    if not has_keyword(absolute):
        return absolute
    return _relative(here, there)


def _relative(here: list[str], there: list[str]) -> str | None:
    shared = 0
    while shared < min(len(here), len(there) - 1) and here[shared] == there[shared]:
        shared += 1
    rest = ".".join(there[shared:])
    return None if shared == 0 or has_keyword(rest) else "." * (len(here) - shared + 1) + rest


class Imports:
    """Collects the message classes that one generated module uses, and writes their import statements.

    ``current_module`` is the module being written, as a path below the output folder without ``package``;
    ``package`` is the package that the output folder is, if any. Names already used by the module are told by
    :meth:`reserve` before the first :meth:`message`, and builtins count as used: a class of such a name is
    imported as ``<name>Message``.
    """

    def __init__(self, current_module: str, package: str | None) -> None:
        self._current = current_module
        self._package = package
        self._taken = set(_IMPORTABLE_BUILTINS)
        self._local: dict[tuple[str, str], str] = {}
        self._plain: dict[str, list[str]] = {}
        self._guarded: list[tuple[str, str]] = []
        self._dynamic = False

    def reserve(self, names: Iterable[str]) -> None:
        """Keep ``names`` for the module's own definitions."""
        self._taken.update(names)

    def message(self, module: str, name: str) -> str:
        """Return the expression for message ``name`` (``Outer.Inner``) of ``module``."""
        source = import_source(module, self._current, self._package)
        if source is None:
            return self._opaque(module, name)
        first, *rest = name.split(".")
        if (module, first) not in self._local:
            self._local[module, first] = self._import(module, first, source)
        expression = self._local[module, first]
        for part in rest:
            expression = (
                f"{expression}.{part}"
                if checker_name(part, nested=True) == part
                else self._nested(expression, part)
            )
        return expression

    def statements(self) -> list[str]:
        """Return the statements in the order to write them; some span several lines."""
        plain = [
            f"from {source} import {', '.join(sorted(names))}"
            for source, names in sorted(self._plain.items())
        ]
        if not self._guarded:
            return plain
        head = ["from importlib import import_module"] if self._dynamic else []
        head.append("from typing import TYPE_CHECKING")
        checked = [line for line, _ in self._guarded]
        actual = [line for _, line in self._guarded]
        block = "\n    ".join(["if TYPE_CHECKING:", *checked]) + "\n" + "\n    ".join(["else:", *actual])
        return [*head, *plain, block]

    def _import(self, module: str, name: str, source: str) -> str:
        local = self._free(name)
        public = checker_name(name)
        if public == name:
            self._plain.setdefault(source, []).append(name if local == name else f"{name} as {local}")
        else:
            actual = f'{local} = getattr({self._loaded(module, source)}, "{name}")'
            self._guarded.append((f"from {source} import {public} as {local}", actual))
        return local

    def _opaque(self, module: str, name: str) -> str:
        # The checker knows no module that no statement can name: its messages are plain Messages there.
        if (module, name) not in self._local:
            local = self._local[module, name] = self._free(name.replace(".", "_"))
            actual = self._loaded(module, module)
            for part in name.split("."):
                actual = f'getattr({actual}, "{part}")'
            checked = f"from google.protobuf.message import Message as {local}"
            self._guarded.append((checked, f"{local} = {actual}"))
        return self._local[module, name]

    def _loaded(self, module: str, source: str) -> str:
        self._dynamic = True
        if source.startswith("."):
            return f'import_module("{source}", __package__)'
        absolute = module if self._package is None or is_external(module) else f"{self._package}.{module}"
        return f'import_module("{absolute}")'

    def _nested(self, outer: str, name: str) -> str:
        if (outer, name) not in self._local:
            local = self._free(f"{outer.replace('.', '_')}_{name}")
            self._local[outer, name] = local
            self._guarded.append(
                (
                    f"{local} = {outer}.{checker_name(name, nested=True)}",
                    f'{local} = getattr({outer}, "{name}")',
                )
            )
        return self._local[outer, name]

    def _free(self, name: str) -> str:
        local = name
        if not is_name(name) or is_special(name) or name in self._taken:
            local = name.strip("_") + "Message"
        while local in self._taken:
            local += "_"
        self._taken.add(local)
        return local
