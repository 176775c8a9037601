"""Descriptors from `.proto` text."""

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet


def compiled(files: Mapping[str, str]) -> dict[str, FileDescriptorProto]:
    """All files by name, what they import among them, with comments."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        arguments = ["--include_imports", "--include_source_info", "--descriptor_set_out=set", "-I.", *files]
        command = [sys.executable, "-W", "ignore", "-m", "grpc_tools.protoc", *arguments]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        return {
            file.name: file for file in FileDescriptorSet.FromString(Path(folder, "set").read_bytes()).file
        }
