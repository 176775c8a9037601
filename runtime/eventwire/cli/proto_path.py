"""``eventwire proto-path``: the folder to give to protoc as ``-I``."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import eventwire

_OPTIONS = Path("eventwire/v1/options.proto")


def command(argv: Sequence[str]) -> int:
    """Print the folder of eventwire/v1/options.proto, for protoc's -I."""
    description = f"Print the folder of {_OPTIONS}, for protoc's -I."
    argparse.ArgumentParser(prog="eventwire proto-path", description=description).parse_args(argv)
    print(folder())
    return 0


def folder() -> Path:
    """Return the folder: the checkout's for an editable install, else the one in the installed package."""
    package = Path(eventwire.__file__).parent
    checkout = package.parents[1] / "proto"
    return checkout if (checkout / _OPTIONS).is_file() else package / "_proto"
