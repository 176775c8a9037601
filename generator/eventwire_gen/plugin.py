"""`protoc-gen-eventwire`: the plugin for protoc, `python -m grpc_tools.protoc` and `buf generate`."""

from __future__ import annotations

import sys

from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest, CodeGeneratorResponse

# This brings the vocabulary, which must be known before a request is parsed: else its options are unknown fields.
from eventwire_gen.generate import empty_response, generate
from eventwire_gen.settings import SettingsError, parse_parameter


def main() -> None:
    """Read a request from stdin and write the response, and nothing else, to stdout."""
    request = CodeGeneratorRequest.FromString(sys.stdin.buffer.read())
    sys.stdout.buffer.write(respond(request).SerializeToString(deterministic=True))


def respond(request: CodeGeneratorRequest) -> CodeGeneratorResponse:
    """Answer one request; wrong parameters are the response's `error`."""
    try:
        settings = parse_parameter(request.parameter)
    except SettingsError as error:
        response = empty_response()
        response.error = f"protoc-gen-eventwire: {error}"
        return response
    return generate(request, settings)
