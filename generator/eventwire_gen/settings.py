"""The plugin's parameters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from eventwire_gen.backends import BACKENDS, PROTOBUF, Backend

PARAMETERS = ("messages", "pyi", "templates")


class SettingsError(ValueError):
    """A parameter that is unknown or has a value that it cannot have."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How to generate.

    `backend` makes the message classes, `pyi` asks for the stubs of protoc's modules, `templates` is a folder of Jinja
    templates that override or add to ours. `package` is the Python package that the output folder is: only who also
    rewrites protoc's modules may set it, which the plugin by itself cannot.
    """

    backend: Backend = PROTOBUF
    pyi: bool = True
    templates: Path | None = None
    package: str | None = None


def parse_parameter(parameter: str) -> Settings:
    """Read what protoc or buf passes as `a=b,c=d`; raises SettingsError."""
    settings = Settings()
    for name, value in _pairs(parameter):
        settings = _apply(settings, name, value)
    return settings


def _pairs(parameter: str) -> Iterator[tuple[str, str]]:
    for item in filter(None, (part.strip() for part in parameter.split(","))):
        name, _, value = item.partition("=")
        yield name.strip(), value.strip()


def _apply(settings: Settings, name: str, value: str) -> Settings:
    match name:
        case "messages":
            return replace(settings, backend=_backend(value))
        case "pyi":
            return replace(settings, pyi=_boolean(name, value))
        case "templates":
            return replace(settings, templates=_folder(value))
        case "package":
            raise SettingsError(
                "package= moves the message modules too, which this plugin cannot: "
                f"run `eventwire gen --package {value or 'NAME'}` instead"
            )
        case _:
            raise SettingsError(f'unknown parameter "{name}"{_nearest(name, PARAMETERS)}')


def _backend(name: str) -> Backend:
    if name not in BACKENDS:
        raise SettingsError(f'messages="{name}" is unknown{_nearest(name, tuple(BACKENDS))}')
    return BACKENDS[name]


def _boolean(name: str, value: str) -> bool:
    if value not in {"true", "false"}:
        raise SettingsError(f'{name} is true or false, not "{value}"')
    return value == "true"


def _folder(value: str) -> Path:
    folder = Path(value)
    if not value or not folder.is_dir():
        raise SettingsError(f'templates="{value}" is no folder')
    return folder


def _nearest(name: str, known: tuple[str, ...]) -> str:
    close = get_close_matches(name, known, n=1)
    return f', did you mean "{close[0]}"?' if close else f"; there are {', '.join(known)}"
