"""Is the generated code in the checkout what the generator writes today? Every difference is named."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from eventwire.v1 import options_pb2

ROOT = Path(__file__).parent.parent
SHOP = Path("examples/shop")
OPTIONS = "eventwire/v1/options.proto"


def main() -> int:
    """1 when something differs."""
    faults = [*options_faults(), *shop_faults()]
    for fault in faults:
        print(fault)
    return 1 if faults else 0


def options_faults() -> Iterator[str]:
    """Compares descriptors: the file was written by an older protoc on purpose (tools/options_pb2.sh)."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "options.binpb")
        protoc = [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "grpc_tools.protoc",
            "-Iproto",
            f"--descriptor_set_out={target}",
        ]
        subprocess.run([*protoc, OPTIONS], cwd=ROOT, check=True)
        (compiled,) = FileDescriptorSet.FromString(target.read_bytes()).file
    if without_json_names(compiled) != without_json_names(checked_in()):
        yield "runtime/eventwire/v1/options_pb2.py is not what proto/ says: run tools/options_pb2.sh"


def checked_in() -> FileDescriptorProto:
    """What options_pb2 holds."""
    return FileDescriptorProto.FromString(options_pb2.DESCRIPTOR.serialized_pb)


def without_json_names(file: FileDescriptorProto) -> FileDescriptorProto:
    """Python's generated code leaves them out; they follow from the names."""
    fields = [field for message in file.message_type for field in message.field]
    for field in [*fields, *file.extension]:
        field.ClearField("json_name")
    return file


def shop_faults() -> Iterator[str]:
    """The generator's own list of files that are missing, stale or left over."""
    gen = [
        sys.executable,
        "-m",
        "eventwire",
        "gen",
        str(SHOP / "proto"),
        "--out",
        str(SHOP / "gen"),
        "--check",
    ]
    done = subprocess.run(gen, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        yield f"{done.stdout}{done.stderr}".rstrip() + f": `make gen` writes {SHOP / 'gen'}"


if __name__ == "__main__":
    sys.exit(main())
