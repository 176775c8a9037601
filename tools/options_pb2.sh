#!/bin/sh
# Writes runtime/eventwire/v1/options_pb2.py with the protoc of the lowest supported protobuf.
# grpcio-tools 1.81.1 holds protoc 33.5: its gencode says 6.33.5, which protobuf 6.33.5 and everything newer loads.
set -eu
cd "$(dirname "$0")/.."
python="${PYTHON:-.venv/bin/python}"
compiler="$(mktemp -d)"
trap 'rm -rf "$compiler"' EXIT
"$python" -m pip install --quiet --no-deps --target "$compiler" grpcio-tools==1.81.1
PYTHONPATH="$compiler" "$python" -W ignore -m grpc_tools.protoc -Iproto --python_out=runtime eventwire/v1/options.proto
PATH="$(dirname "$python"):$PATH" "$python" -m grpc_tools.protoc -Iproto --eventwire_out=runtime eventwire/v1/options.proto
