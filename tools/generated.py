"""Is the generated code in the checkout what the generator writes today? Every difference is named."""

import filecmp
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
    """Compares the shop's files byte for byte."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "eventwire", "gen", str(SHOP / "proto"), "--out", folder]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            yield f"`eventwire gen {SHOP / 'proto'}` exits with {done.returncode}: {done.stderr.strip()}"
            return
        yield from (f"{line}: run `make gen`" for line in differences(ROOT / SHOP / "gen", Path(folder)))


def differences(checkout: Path, fresh: Path) -> Iterator[str]:
    """One line for each file that is not in both with the same bytes."""
    for name in sorted(files(checkout) | files(fresh)):
        if not (checkout / name).exists():
            yield f"{SHOP / 'gen' / name} is missing"
        elif not (fresh / name).exists():
            yield f"{SHOP / 'gen' / name} is left over"
        elif not filecmp.cmp(checkout / name, fresh / name, shallow=False):
            yield f"{SHOP / 'gen' / name} is stale"


def files(folder: Path) -> set[Path]:
    """Relative paths of all files but Python's own caches."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {path for path in found if "__pycache__" not in path.parts}


if __name__ == "__main__":
    sys.exit(main())
