"""What compiles, and will not work in Python all the same."""

import sys
from collections.abc import Iterator, Mapping
from importlib.machinery import PathFinder
from pathlib import Path

from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest
from google.protobuf.descriptor_pool import DescriptorPool

from eventwire_gen.python_names import is_external, is_shipped, module_path, pb2_module

_INSTALL = "installed: pip install googleapis-common-protos"


def found(
    request: CodeGeneratorRequest, paths: Mapping[str, str], out: Path, package: str | None
) -> Iterator[str]:
    """Yield the warnings of a run; ``paths`` are those of the compiled files by name."""
    yield from _absent(request, out, package)
    yield from _unloadable(request, paths)
    if package is None:
        yield from _hidden(request, out)


def _absent(request: CodeGeneratorRequest, out: Path, package: str | None) -> Iterator[str]:
    made = set(request.file_to_generate)
    for file in request.proto_file:
        module = pb2_module(file.name)
        if file.name in made or is_shipped(module):
            continue
        external = is_external(module)
        folders = [out, *map(Path, sys.path)] if external or package is None else [out]
        if not any((folder / module_path(module)).exists() for folder in folders):
            cure = _INSTALL if external else "compiled: name it, too, or its folder"
            yield f"warning: {file.name} is imported and not {cure}"


def _unloadable(request: CodeGeneratorRequest, paths: Mapping[str, str]) -> Iterator[str]:
    # protoc takes two fields of one JSON name in proto2, protobuf's Python does not.
    pool = DescriptorPool()
    for file in request.proto_file:
        try:
            pool.AddSerializedFile(file.SerializeToString())
        except TypeError as error:
            reason = str(error).partition("descriptor pool: ")[2] or error
            yield f"warning: {paths.get(file.name, file.name)}: protobuf's Python cannot load this file: {reason}"


def _hidden(request: CodeGeneratorRequest, out: Path) -> Iterator[str]:
    tops = {name.partition("/")[0] for name in request.file_to_generate if "/" in name}
    for name in sorted(tops):
        if name in sys.stdlib_module_names:
            yield f"warning: folder {name}/ and Python's own module {name} exclude each other: use --package"
        elif _is_installed(name, out):
            yield f"warning: folder {name}/ and the installed package {name} exclude each other: use --package"
    if any(name.startswith("google/protobuf/") for name in request.file_to_generate):
        yield "warning: nothing can be imported into protobuf's own package google.protobuf: use --package"


def _is_installed(name: str, out: Path) -> bool:
    # A folder without __init__.py, as `google` is one, is no obstacle: Python joins all of that name.
    spec = PathFinder.find_spec(name)
    return (
        spec is not None
        and spec.origin is not None
        and out.resolve() not in Path(spec.origin).resolve().parents
    )
