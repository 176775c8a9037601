"""Folders of ``.proto`` files that installed distributions bring."""

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

from eventwire.v1 import options_pb2

OPTIONS = "eventwire/v1/options.proto"


def installed() -> Iterator[Path]:
    """Yield the include folders that every run has: ours, Google's own, and Google's common ones if installed."""
    yield vocabulary()
    yield _grpc_tools() / "_proto"
    try:
        yield Path(str(distribution("googleapis-common-protos").locate_file("")))
    except PackageNotFoundError:
        return


def vocabulary() -> Path:
    """Return the folder that `eventwire/v1/options.proto` is in: the checkout's, or the installed package's."""
    package = Path(options_pb2.__file__).parents[1]
    checkout = package.parents[1] / "proto"
    return checkout if (checkout / OPTIONS).is_file() else package / "_proto"


def _grpc_tools() -> Path:
    spec = find_spec("grpc_tools")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("grpcio-tools is not installed", name="grpc_tools")
    return Path(spec.origin).parent
