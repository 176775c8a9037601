"""One run: select, compile, generate, mend, write."""

import importlib
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from eventwire_gen import pyi
from eventwire_gen.backends import PROTOBUF
from eventwire_gen.compile.imports import Imports, carried
from eventwire_gen.compile.includes import installed
from eventwire_gen.compile.output import Difference, Output, package_files
from eventwire_gen.compile.plugins import languages
from eventwire_gen.compile.protoc import Compiled, start
from eventwire_gen.compile.sources import Selection, select
from eventwire_gen.compile.warnings import found
from eventwire_gen.faults import Refused
from eventwire_gen.options import topic_options
from eventwire_gen.python_names import is_external, is_shipped, module_path, pb2_module
from eventwire_gen.schema import declared_in
from eventwire_gen.settings import Settings

# Folders that hide an installed distribution once they are regular packages.
_NO_PACKAGES = ("google/", "eventwire/")


@dataclass(frozen=True, slots=True)
class Job:
    """What to compile, how, and where to.

    ``proto`` are the folders to compile, ``include`` those to import from only; ``paths`` restricts the run to some
    files or folders. ``out`` is the output folder, which is package ``settings.package`` if that is set. ``init`` asks
    for an ``__init__.py`` in each folder; below a package there always is one.
    """

    proto: tuple[Path, ...]
    include: tuple[Path, ...]
    paths: tuple[Path, ...]
    out: Path
    settings: Settings
    init: bool = False


@dataclass(frozen=True, slots=True)
class Built:
    """What a run made: the output, how the folder differs from it, and what there is to tell."""

    output: Output
    difference: Difference
    sources: int
    topics: int
    warnings: tuple[str, ...]


def build(job: Job) -> Built:
    """Compile and generate, and write nothing; raises Refused with every fault, a line each."""
    selection = select(job.proto, job.include, job.paths)
    if job.settings.package is not None:
        selection = selection.moving()
    request, compiled = _compile(selection, job)
    from eventwire_gen.generate import generate  # noqa: PLC0415  loaded while protoc ran

    response = generate(request, job.settings)
    if response.HasField("error"):
        raise Refused(_with_paths(response.error, selection))
    files = {**_messages(compiled, request, job.settings)}
    files |= {file.name: file.content.encode() for file in response.file}
    if job.init or job.settings.package is not None:
        files = {**_packages(files, job), **files}
    output = Output(job.out, files, selection.partial)
    warnings = list(compiled.warnings)
    if job.settings.backend is PROTOBUF:
        warnings += found(request, selection.paths, job.out, job.settings.package)
    return Built(output, output.difference(), len(selection.sources), _topics(request), tuple(warnings))


def _compile(selection: Selection, job: Job) -> tuple[CodeGeneratorRequest, Compiled]:
    include = [*selection.roots, *(path for path in job.include if path not in selection.roots), *installed()]
    with tempfile.TemporaryDirectory(prefix="eventwire-gen-") as folder:
        started = start(selection.sources, include, Path(folder), languages(job.settings.backend))
        importlib.import_module("eventwire_gen.generate")  # as long as protoc takes anyway
        compiled = started.result()
    request = CodeGeneratorRequest(file_to_generate=[source.name for source in selection.sources])
    # FileDescriptorSet.file and CodeGeneratorRequest.proto_file hold the same messages.
    request.proto_file.extend(FileDescriptorSet.FromString(compiled.descriptors).file)
    return request, compiled


def _messages(compiled: Compiled, request: CodeGeneratorRequest, settings: Settings) -> Mapping[str, bytes]:
    if settings.backend is not PROTOBUF:
        return compiled.files
    stubs = {} if settings.package is not None else _stubs_of_googleapis(request)
    imports = Imports(settings.package, carried(request.proto_file))
    return {**{name: imports.mend(data.decode()).encode() for name, data in compiled.files.items()}, **stubs}


def _stubs_of_googleapis(request: CodeGeneratorRequest) -> dict[str, bytes]:
    """Stubs for imported modules of googleapis-common-protos, which has no py.typed: mypy ignores what it has."""
    files = {file.name: file for file in request.proto_file}
    wanted = {name: pb2_module(name) for name in files.keys() - set(request.file_to_generate)}
    return {
        module_path(module, ".pyi"): pyi.render(files[name], files, None).encode()
        for name, module in sorted(wanted.items())
        if name.startswith("google/") and is_external(module) and not is_shipped(module)
    }


def _packages(files: Iterable[str], job: Job) -> dict[str, bytes]:
    if job.settings.package is not None:
        return package_files(files, job.out)
    below = package_files((name for name in files if not name.startswith(_NO_PACKAGES)), job.out)
    return {path: data for path, data in below.items() if path != "__init__.py"}


def _topics(request: CodeGeneratorRequest) -> int:
    selected = set(request.file_to_generate)
    files = [file for file in request.proto_file if file.name in selected]
    return sum(topic_options(declared.proto) is not None for file in files for declared in declared_in(file))


def _with_paths(text: str, selection: Selection) -> str:
    paths = selection.paths
    lines = [line.partition(":") for line in text.splitlines()]
    return "\n".join(paths.get(name, name) + colon + rest for name, colon, rest in lines)
