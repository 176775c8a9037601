"""``eventwire gen``: from ``.proto`` files to messages, their stubs, publishers and handlers."""

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path

_FAULTS, _USAGE = 1, 2
_NEEDED = ("grpc_tools", "jinja2")


def command(argv: Sequence[str]) -> int:
    """Compile .proto files to messages, stubs, publishers and handlers.

    0 when the output is current, 1 for faults and for what cannot be read or written, 2 for wrong settings.
    """
    flags = _parser().parse_args(argv)
    if not all(map(find_spec, _NEEDED)):
        print("eventwire gen needs an extra: pip install 'eventwire[gen]'", file=sys.stderr)
        return _USAGE
    try:
        return _run(flags)
    except OSError as error:
        if error.filename is None:
            raise
        print(f"eventwire gen: {error.filename}: {error.strerror}", file=sys.stderr)
        return _FAULTS


def _run(flags: argparse.Namespace) -> int:
    # Imported here, because they need the extra.
    from eventwire_gen.cli.config import job_of  # noqa: PLC0415  loaded only where it is needed
    from eventwire_gen.compile.build import build  # noqa: PLC0415  loaded only where it is needed
    from eventwire_gen.faults import Refused  # noqa: PLC0415  loaded only where it is needed
    from eventwire_gen.settings import SettingsError  # noqa: PLC0415  loaded only where it is needed

    began = time.perf_counter()
    try:
        job = job_of(flags)
        built = build(job)
    except SettingsError as error:
        print(f"eventwire gen: {error}", file=sys.stderr)
        return _USAGE
    except Refused as refused:
        print(refused, file=sys.stderr)
        return _FAULTS
    for warning in built.warnings:
        print(warning, file=sys.stderr)
    if flags.check:
        return _check(built.difference.lines(), job.out)
    built.output.write(built.difference)
    counted = f"{_count(built.sources, 'file')}, {_count(built.topics, 'topic')}"
    print(f"{counted}, {len(built.difference)} changed in {job.out} ({time.perf_counter() - began:.2f} s)")
    return 0


def _check(lines: Iterable[str], out: Path) -> int:
    stale = [f"{out / line}" for line in lines]
    for line in stale:
        print(line)
    if stale:
        print("run `eventwire gen`", file=sys.stderr)
    return _FAULTS if stale else 0


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="eventwire gen",
        description="Compile .proto files to Python: messages, their type stubs, publishers and handlers.",
        epilog="Every option but --check may stand in [tool.eventwire] of pyproject.toml, by the same name.",
    )
    parser.add_argument("paths", nargs="*", help="files or folders to compile (default: the --proto folders)")
    parser.add_argument("--proto", action="append", default=[], help="a folder to compile (default: proto)")
    parser.add_argument("--include", action="append", default=[], help="a folder to import from only")
    parser.add_argument("--out", help="the output folder (default: gen)")
    parser.add_argument("--package", help="the Python package that the output folder is (default: none)")
    parser.add_argument("--messages", help="protobuf (default), betterproto2 or betterproto")
    parser.add_argument("--templates", help="a folder of Jinja templates that override or add to ours")
    parser.add_argument("--init", action="store_true", help="write an empty __init__.py into each folder")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 when the output is not current"
    )
    return parser
