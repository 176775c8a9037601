"""Running the compiler of grpcio-tools."""

import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from eventwire_gen.compile.plugins import search_path
from eventwire_gen.compile.sources import Source
from eventwire_gen.faults import Refused

# grpc_tools.protoc would also put finders for .proto files on sys.meta_path.
_RUN = """
import sys
from grpc_tools._protoc_compiler import run_main
sys.exit(run_main([argument.encode() for argument in sys.argv]))
"""
_LOGGED = re.compile(r"^[IWE]\d{4} [^]]*\] ")
_RAISED = re.compile(r"^[A-Za-z_][\w.]*(:|$)")
_FAILED = re.compile(r"^--\w+_out: (protoc-gen-\w+): Plugin failed")
_BETTERPROTO_NOTICE = "Writing "
_LOGGING_NOTICE = "WARNING: All log messages before absl::InitializeLog()"


@dataclass(frozen=True, slots=True)
class Started:
    """A compiler at work; ask for :meth:`result` once."""

    process: "subprocess.Popen[bytes]"
    folder: Path
    outputs: tuple[str, ...]
    shown: Mapping[str, str]

    def result(self) -> "Compiled":
        """Wait for the compiler; raises Refused with all that it found wrong."""
        _, stderr = self.process.communicate()
        text = [_readable(line, self.shown) for line in stderr.decode(errors="replace").splitlines()]
        told = tuple(line for line in _without_traces(text) if line)
        if self.process.returncode:
            raise Refused("\n".join(told) or f"protoc ended with status {self.process.returncode}")
        files = {name: data for output in self.outputs for name, data in _unzipped(self.folder / output)}
        return Compiled((self.folder / "set").read_bytes(), files, told)


@dataclass(frozen=True, slots=True)
class Compiled:
    """A serialized FileDescriptorSet with imports and comments, the modules by path, and the warnings."""

    descriptors: bytes
    files: Mapping[str, bytes]
    warnings: tuple[str, ...]


def start(
    sources: Sequence[Source], roots: Iterable[Path], folder: Path, languages: Mapping[str, Sequence[str]]
) -> Started:
    """Start protoc on ``sources`` within the empty ``folder``, where it may leave what it likes.

    ``languages`` maps each output to make (``python`` for ``--python_out``) to further arguments for it.
    """
    arguments = [f"-I{root.resolve()}" for root in roots]
    arguments += ["--include_imports", "--include_source_info", "--descriptor_set_out=set"]
    for language, further in languages.items():
        arguments += [f"--{language}_out={language}.zip", *further]
    arguments += [str(source.root.resolve() / source.name) for source in sources]
    (folder / "arguments").write_text("\n".join(arguments), encoding="utf-8")
    process = subprocess.Popen(  # noqa: S603  our own Python with arguments in a file
        [sys.executable, "-c", _RUN, "@arguments"],
        cwd=folder,
        env={**os.environ, "PATH": search_path()},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    shown = {f"{root.resolve()}/": f"{root}/" for root in roots}
    return Started(process, folder, tuple(f"{language}.zip" for language in languages), shown)


def _unzipped(path: Path) -> Iterable[tuple[str, bytes]]:
    with zipfile.ZipFile(path, metadata_encoding="utf-8") as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def _without_traces(lines: Iterable[str]) -> Iterator[str]:
    # What a plugin of someone else's fails with is told by the last line of its traceback.
    inside = False
    for line in lines:
        inside = line.startswith("Traceback ") or (inside and not _RAISED.match(line))
        if not inside:
            yield line


def _readable(line: str, shown: Mapping[str, str]) -> str:
    if line.startswith((_LOGGING_NOTICE, _BETTERPROTO_NOTICE)):
        return ""
    if failed := _FAILED.match(line):
        return f"{failed[1]} failed: that is the compiler of the message library, not Eventwire's"
    for full, short in shown.items():
        if line.startswith(full):
            return short + line.removeprefix(full)
    return _LOGGED.sub("warning: ", line)
