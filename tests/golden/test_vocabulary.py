"""The shipped module of eventwire/v1/options.proto is that of the file as it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from eventwire.v1 import options_pb2

ROOT = Path(__file__).parent.parent.parent
PLUGIN = Path(sys.executable).parent / "protoc-gen-eventwire"
AGAIN = "run tools/options_pb2.sh"


def protoc(*arguments: str) -> None:
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'proto'}", *arguments]
    subprocess.run([*command, "eventwire/v1/options.proto"], check=True)


def test_module_is_current(tmp_path: Path) -> None:
    protoc(f"--descriptor_set_out={tmp_path / 'options.binpb'}")
    (current,) = FileDescriptorSet.FromString((tmp_path / "options.binpb").read_bytes()).file
    shipped = FileDescriptorProto.FromString(options_pb2.DESCRIPTOR.serialized_pb)
    for field in (field for message in current.message_type for field in message.field):
        field.ClearField("json_name")  # protoc writes them for descriptor sets only
    for field in current.extension:
        field.ClearField("json_name")
    assert shipped == current, AGAIN


def test_stub_is_current(tmp_path: Path) -> None:
    protoc(f"--plugin=protoc-gen-eventwire={PLUGIN}", f"--eventwire_out={tmp_path}")
    path = "eventwire/v1/options_pb2.pyi"
    assert (tmp_path / path).read_text() == (ROOT / "runtime" / path).read_text(), AGAIN
