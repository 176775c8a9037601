"""The ``eventwire`` command.

Its commands come from the entry point group ``eventwire.commands``: each is a ``command(argv) -> exit status``. So the
runtime knows nothing of the generator, and other distributions can add their own.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points

Command = Callable[[Sequence[str]], int]

_USAGE = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``eventwire COMMAND ...`` and return its exit status: 2 stands for a call that cannot be understood."""
    given = sys.argv[1:] if argv is None else list(argv)
    commands = {found.name: found for found in entry_points(group="eventwire.commands")}
    if not given or given[0] in {"-h", "--help"}:
        print(_usage(commands))
        return 0 if given else _USAGE
    name, *rest = given
    if name not in commands:
        print(_unknown(name, commands), file=sys.stderr)
        return _USAGE
    return _call(commands[name], rest)


def _call(found: EntryPoint, argv: Sequence[str]) -> int:
    command: Command = found.load()
    try:
        return command(argv)
    except SystemExit as stopped:  # argparse's way to end after --help and wrong flags
        return stopped.code if isinstance(stopped.code, int) else _USAGE
    except BrokenPipeError:
        return 1
    except KeyboardInterrupt:
        return 130


def _usage(commands: Mapping[str, EntryPoint]) -> str:
    return "\n".join(
        ["usage: eventwire COMMAND ...", "", "commands:", *(f"  {name}" for name in sorted(commands))]
    )


def _unknown(name: str, commands: Mapping[str, EntryPoint]) -> str:
    close = get_close_matches(name, commands, n=1)
    hint = f'did you mean "{close[0]}"?' if close else f"there are {', '.join(sorted(commands))}"
    return f'eventwire: no command "{name}", {hint}'
