"""From a request to a response: the library entry, for the plugin and for `eventwire gen`."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest, CodeGeneratorResponse
from google.protobuf.descriptor_pb2 import EDITION_2024, EDITION_PROTO2

from eventwire_gen import topics
from eventwire_gen.backends import PROTOBUF
from eventwire_gen.faults import Place, Refused
from eventwire_gen.python_names import module_path, pb2_module
from eventwire_gen.run import Run
from eventwire_gen.schema import Schema, SchemaError
from eventwire_gen.settings import Settings
from eventwire_gen.view import FileView

_FEATURES = CodeGeneratorResponse.FEATURE_PROTO3_OPTIONAL | CodeGeneratorResponse.FEATURE_SUPPORTS_EDITIONS


def generate(request: CodeGeneratorRequest, settings: Settings) -> CodeGeneratorResponse:
    """Generate the files of a request; what is wrong with the user's files is the response's `error`.

    The options of eventwire/v1/options.proto are only seen in a request that was parsed after this module was imported.
    """
    response = empty_response()
    try:
        for name, content in _outputs(request, settings):
            response.file.add(name=name, content=content)
    except Refused as refused:
        response = empty_response()
        response.error = str(refused)
    return response


def empty_response() -> CodeGeneratorResponse:
    """A response that says what the plugin supports."""
    return CodeGeneratorResponse(
        supported_features=_FEATURES, minimum_edition=EDITION_PROTO2, maximum_edition=EDITION_2024
    )


def views(request: CodeGeneratorRequest, settings: Settings) -> tuple[FileView, ...]:
    """The views of the request's files that have topics; raises Refused with every fault of all files."""
    run = Run(Schema.of(request.proto_file), settings)
    if settings.backend.whole_packages and settings.package is None:
        backend = settings.backend.name
        raise Refused(
            f"messages={backend} needs a package: run `eventwire gen --messages {backend} --package NAME`"
        )
    try:
        found = [topics.read_file(run, name, stub_module(name)) for name in request.file_to_generate]
        topics.check_events(run, request.file_to_generate)
        topics.check_names(run, request.file_to_generate)
    except SchemaError as error:
        run.faults.add(Place(error.file), str(error))
        found = []
    if run.faults:
        raise Refused(str(run.faults))
    return tuple(view for view in found if view is not None)


def stub_module(proto: str) -> str:
    """The module of a file's topics: `a/b-c.proto` is `a.b_c_eventwire`."""
    return pb2_module(proto).removesuffix("_pb2") + "_eventwire"


def _outputs(request: CodeGeneratorRequest, settings: Settings) -> Iterator[tuple[str, str]]:
    found = views(request, settings)
    if found:
        from eventwire_gen.render import Renderer  # noqa: PLC0415  Jinja is half of the start-up; many runs need none

        renderer = Renderer.of(settings.templates)
        for view in found:
            yield from renderer.outputs(view)
    if settings.pyi and settings.backend is PROTOBUF:
        yield from _stubs(request, settings)


def _stubs(request: CodeGeneratorRequest, settings: Settings) -> Iterator[tuple[str, str]]:
    from eventwire_gen import pyi  # noqa: PLC0415  not needed with pyi=false

    files = {file.name: file for file in request.proto_file}
    for name in request.file_to_generate:
        yield module_path(pb2_module(name), ".pyi"), pyi.render(files[name], files, settings.package)
