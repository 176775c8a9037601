"""``eventwire vendor``: the vocabulary as a file of the project, because buf cannot see into site-packages."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from eventwire_gen.compile.includes import OPTIONS, vocabulary


def command(argv: Sequence[str]) -> int:
    """Copy the vocabulary into the project, for buf.

    0 when the copy is current then, 1 on drift with ``--check``, and for what cannot be read or written.
    """
    flags = _parser().parse_args(argv)
    try:
        return _run(flags)
    except OSError as error:
        print(f"eventwire vendor: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1


def _run(flags: argparse.Namespace) -> int:
    target = Path(flags.folder) / OPTIONS
    wanted = (vocabulary() / OPTIONS).read_bytes()
    current = target.is_file() and target.read_bytes() == wanted
    if flags.check and not current:
        state = "differs from the installed version" if target.is_file() else "is missing"
        print(f"{target} {state}: run `eventwire vendor {flags.folder}`")
        return 1
    if not current:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(wanted)
    print(f"{target} {'unchanged' if current else 'updated'}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="eventwire vendor",
        description=f"Copy {OPTIONS} into a folder that buf.yaml lists as a module.",
    )
    parser.add_argument("folder", nargs="?", default="third_party", help="default: third_party")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 when the copy is not current"
    )
    return parser
