"""The ``eventwire`` command.

Its commands come from the entry point group ``eventwire.commands``: each is a ``command(argv) -> exit status``, listed
with the first line of its docstring. So the runtime knows nothing of the generator, and other distributions can add
their own.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points, version

Command = Callable[[Sequence[str]], int]

_USAGE = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``eventwire COMMAND ...`` and return its exit status: 2 stands for a call that cannot be understood."""
    given = sys.argv[1:] if argv is None else list(argv)
    commands = {found.name: found for found in entry_points(group="eventwire.commands")}
    if not given or given[0] in {"-h", "--help"}:
        print(_usage(commands))
        return 0 if given else _USAGE
    if given[0] == "--version":
        print(f"eventwire {version('eventwire')}")
        return 0
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
    width = max(map(len, commands), default=0)
    listed = (f"  {name:{width}}  {_description(commands[name])}".rstrip() for name in sorted(commands))
    return "\n".join(["usage: eventwire [--version] COMMAND ...", "", "commands:", *listed])


def _description(found: EntryPoint) -> str:
    try:
        command: Command = found.load()
    except ImportError as error:  # a command that is broken must not hide the others
        return f"cannot be loaded: {error}"
    return (command.__doc__ or "").partition("\n")[0]


def _unknown(name: str, commands: Mapping[str, EntryPoint]) -> str:
    close = get_close_matches(name, commands, n=1)
    hint = f'did you mean "{close[0]}"?' if close else f"there are {', '.join(sorted(commands))}"
    return f'eventwire: no command "{name}", {hint}'
