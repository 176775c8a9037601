"""The settings of ``eventwire gen``: ``[tool.eventwire]`` of pyproject.toml, and flags of the same names."""

import tomllib
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TypeGuard, cast

from eventwire_gen.backends import BACKENDS
from eventwire_gen.compile.build import Job
from eventwire_gen.settings import Settings, SettingsError

_FOLDERS = ("proto", "include")
_TEXTS = ("out", "package", "messages", "templates")
_KEYS = (*_FOLDERS, *_TEXTS, "init")


@dataclass(frozen=True, slots=True)
class Table:
    """``[tool.eventwire]``; its paths start at ``base``, the folder of its file."""

    base: Path
    values: Mapping[str, object]

    def folders(self, key: str) -> tuple[Path, ...]:
        """Return a list of paths, empty where the key is missing."""
        value = self.values.get(key, [])
        if isinstance(value, str):
            value = [value]
        if not _is_texts(value):
            raise SettingsError(f"[tool.eventwire] {key} is a list of folders, not {value!r}")
        return tuple(self.base / each for each in value)

    def text(self, key: str) -> str:
        """Return a text, empty where the key is missing."""
        value = self.values.get(key, "")
        if not isinstance(value, str):
            raise SettingsError(f"[tool.eventwire] {key} is a text, not {value!r}")
        return value

    def path(self, key: str) -> Path | None:
        """Return a path, None where the key is missing or empty."""
        return self.base / self.text(key) if self.text(key) else None

    def flag(self, key: str) -> bool:
        """Return a truth value, false where the key is missing."""
        value = self.values.get(key, False)
        if not isinstance(value, bool):
            raise SettingsError(f"[tool.eventwire] {key} is true or false, not {value!r}")
        return value


def job_of(flags: Namespace) -> Job:
    """Return what to do; raises SettingsError. Paths of flags start at the working folder."""
    table = read(Path.cwd())
    out = Path(flags.out) if flags.out else table.path("out") or Path("gen")
    if out.exists() and not out.is_dir():
        raise SettingsError(f"out={out} is no folder")
    package = (flags.package if flags.package is not None else table.text("package")) or None
    _check_package(package, out)
    name = flags.messages or table.text("messages") or "protobuf"
    if name not in BACKENDS:
        raise SettingsError(f'messages="{name}" is unknown; there are {", ".join(BACKENDS)}')
    templates = Path(flags.templates) if flags.templates else table.path("templates")
    if templates is not None and not templates.is_dir():
        raise SettingsError(f"templates={templates} is no folder")
    if BACKENDS[name].whole_packages and package is None:
        raise SettingsError(
            f"messages={name} needs --package: its modules hide Google's own at the top level"
        )
    return Job(
        proto=tuple(map(Path, flags.proto)) or table.folders("proto") or _default_proto(),
        include=tuple(map(Path, flags.include)) or table.folders("include"),
        paths=tuple(map(Path, flags.paths)),
        out=out,
        settings=Settings(backend=BACKENDS[name], templates=templates, package=package),
        init=flags.init or table.flag("init"),
    )


def read(start: Path) -> Table:
    """Return the table of the nearest pyproject.toml at or above ``start`` that has one, else an empty one."""
    for folder in (start, *start.parents):
        file = folder / "pyproject.toml"
        if file.is_file():
            values = _table(file)
            if values is not None:
                return Table(_short(folder, start), values)
    return Table(Path(), {})


def _table(file: Path) -> Mapping[str, object] | None:
    try:
        values: object = tomllib.loads(file.read_text(encoding="utf-8")).get("tool", {}).get("eventwire")
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{file}: {error}") from error
    if values is None:
        return None
    if not _is_table(values):
        raise SettingsError(f"{file}: tool.eventwire is a table")
    for key in values:
        if key not in _KEYS:
            close = get_close_matches(key, _KEYS, n=1)
            hint = f', did you mean "{close[0]}"?' if close else f"; there are {', '.join(_KEYS)}"
            raise SettingsError(f'{file}: [tool.eventwire] has no "{key}"{hint}')
    return values


def _short(folder: Path, start: Path) -> Path:
    return Path() if folder == start else folder


def _default_proto() -> tuple[Path, ...]:
    return (Path("proto"),) if Path("proto").is_dir() else ()


def _check_package(package: str | None, out: Path) -> None:
    parts = tuple(package.split(".")) if package is not None else ()
    if not all(part.isidentifier() for part in parts):
        raise SettingsError(f'package="{package}" is no Python package name')
    if parts and out.resolve().parts[-len(parts) :] != parts:
        raise SettingsError(
            f"out={out} is not the folder of package {package}: its path should end in {'/'.join(parts)}"
        )


def _is_texts(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(each, str) for each in cast("list[object]", value))


def _is_table(value: object) -> TypeGuard[Mapping[str, object]]:
    return isinstance(value, dict)
