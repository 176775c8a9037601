"""Folders of `.proto` files to compile, and topics that have each of their messages as an event."""

import importlib.resources
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    EDITION_2024,
    VISIBILITY_EXPORT,
    VISIBILITY_LOCAL,
    DescriptorProto,
    FeatureSet,
    FileDescriptorProto,
    FileDescriptorSet,
    FileOptions,
)

CHECKOUT = Path(__file__).parents[2]
_LOCAL_ALL = FeatureSet.VisibilityFeature.LOCAL_ALL
_UNIMPORTABLE = ("google/protobuf/", "eventwire/v1/")


@dataclass(frozen=True)
class Tree:
    """A folder that its files' imports start at. `external`: its Python package is one that never moves."""

    name: str
    root: Path
    external: bool = False


def all_trees(work: Path) -> Iterator[Tree]:
    """The names of this folder, Google's common files, and each folder of the corpus, if there is one."""
    yield Tree("names", Path(__file__).parent / "names")
    yield Tree("googleapis", _copied(_googleapis(), work / "googleapis"), external=True)
    if corpus().is_dir():
        for folder in sorted(corpus().iterdir()):
            if any(folder.rglob("*.proto")):
                yield Tree(folder.name.replace("-", "_").replace(".", "_"), folder)


def corpus() -> Path:
    """The folder of the public files, which may be absent."""
    return Path(os.environ.get("EVENTWIRE_CORPUS", CHECKOUT.parent / "shared" / "corpus"))


def compiled(tree: Tree) -> FileDescriptorSet:
    """The descriptors of a tree's files, without those that they import from elsewhere."""
    include = Path(str(importlib.resources.files("grpc_tools"))) / "_proto"
    names = [str(path) for path in sorted(tree.root.rglob("*.proto"))]
    protoc = [sys.executable, "-W", "ignore", "-m", "grpc_tools.protoc"]
    command = [*protoc, "--retain_options", f"-I{tree.root}", f"-I{include}"]
    with tempfile.NamedTemporaryFile() as target:
        command.append(f"--descriptor_set_out={target.name}")
        done = subprocess.run([*command, *names], cwd=tree.root, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return FileDescriptorSet.FromString(Path(target.name).read_bytes())


def envelopes(files: Iterable[FileDescriptorProto], folder: Path) -> int:
    """Write a file of one topic for each file that has messages, which are the topic's events; returns their number."""
    written = 0
    for number, file in enumerate(files):
        names = list(_importable(file))
        if names and not file.name.startswith(_UNIMPORTABLE):
            target = folder / f"envelopes/e{number}.proto"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(_envelope(number, file, names), encoding="utf-8")
            written += 1
    return written


def _envelope(number: int, imported: FileDescriptorProto, names: list[str]) -> str:
    # Only a file of that kind may import another.
    lite = imported.options.optimize_for == FileOptions.LITE_RUNTIME
    members = "\n".join(f"    {name} m{index} = {index};" for index, name in enumerate(names, 1))
    return f"""syntax = "proto3";
package envelopes.e{number};
import "eventwire/v1/options.proto";
import "{imported.name}";
{"option optimize_for = LITE_RUNTIME;" if lite else ""}
message Topic{number} {{
  option (eventwire.v1.topic) = {{name: "topic-{number}"}};
  oneof event {{
{members}
  }}
}}
"""


def _importable(file: FileDescriptorProto) -> Iterator[str]:
    scope = f".{file.package}" if file.package else ""
    if file.edition < EDITION_2024:
        yield from _messages(file.message_type, scope, hidden=False)
        return
    local = file.options.features.default_symbol_visibility == _LOCAL_ALL
    for message in file.message_type:
        shown = message.visibility == VISIBILITY_EXPORT if local else message.visibility != VISIBILITY_LOCAL
        if shown:
            yield f"{scope}.{message.name}"
        yield from _messages(message.nested_type, f"{scope}.{message.name}", hidden=True)


def _messages(messages: Iterable[DescriptorProto], scope: str, *, hidden: bool) -> Iterator[str]:
    for message in messages:
        if message.options.map_entry:
            continue
        if not hidden or message.visibility == VISIBILITY_EXPORT:
            yield f"{scope}.{message.name}"
        yield from _messages(message.nested_type, f"{scope}.{message.name}", hidden=hidden)


def _googleapis() -> Iterator[tuple[Path, str]]:
    for file in distribution("googleapis-common-protos").files or []:
        if file.suffix == ".proto":
            yield Path(str(file.locate())), file.as_posix()


def _copied(files: Iterable[tuple[Path, str]], target: Path) -> Path:
    for path, name in files:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target / name)
    return target
