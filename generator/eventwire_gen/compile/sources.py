"""Which ``.proto`` files a run compiles."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from eventwire_gen.faults import Refused
from eventwire_gen.python_names import is_external, is_shipped, pb2_module

_NOT_ENTERED = frozenset({"node_modules", "site-packages", "__pycache__"})


@dataclass(frozen=True, slots=True, order=True)
class Source:
    """A file to compile: ``name`` is its path below ``root``, as other files import it."""

    name: str
    root: Path

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self.root / self.name


@dataclass(frozen=True, slots=True)
class Selection:
    """The files of one run. ``partial``: the folders hold more files than these."""

    roots: tuple[Path, ...]
    sources: tuple[Source, ...]
    partial: bool

    @property
    def paths(self) -> dict[str, str]:
        """Where each file is, by its name."""
        return {source.name: str(source.path) for source in self.sources}

    def moving(self) -> "Selection":
        """Return the part that moves into a package; the modules of the rest stay those that are installed."""
        sources = tuple(source for source in self.sources if not is_external(pb2_module(source.name)))
        if not sources:
            raise Refused(
                "nothing to compile into a package: Google's common modules stay where they are installed"
            )
        return replace(self, sources=sources)


def select(proto: Sequence[Path], include: Sequence[Path], paths: Sequence[Path]) -> Selection:
    """Find the files to compile: all below the folders ``proto``, or only what ``paths`` names.

    A path that is below none of these folders is a folder of its own to compile (for a file, the folder it is in).
    Raises Refused for what does not exist, and where there is nothing to compile.
    """
    known = [root for root in proto if root.is_dir()]
    if not paths:
        for root in proto:
            _must_exist(root)
        return _selection(known, _below(known, include), partial=False)
    roots, chosen = _named(paths, [*known, *include])
    used = [root for root in known if any(source.root == root for source in chosen)]
    return _selection([*roots, *used], chosen, partial=bool(used))


def _named(paths: Sequence[Path], searched: Sequence[Path]) -> tuple[list[Path], list[Source]]:
    roots: list[Path] = []
    chosen: list[Source] = []
    for path in paths:
        _must_exist(path)
        root = next((each for each in searched if each.resolve() in path.resolve().parents), None)
        if root is None:
            root = path if path.is_dir() else path.parent
            roots += [root] if root not in roots else []
        chosen += _files(path, root)
    return roots, chosen


def _selection(roots: Iterable[Path], sources: Iterable[Source], partial: bool) -> Selection:
    found = sorted({source.name: source for source in sources}.values())
    if not found:
        raise Refused(
            f"no .proto file to compile{_in(roots)}: name a folder, or set proto in [tool.eventwire]"
        )
    return Selection(tuple(dict.fromkeys(roots)), tuple(found), partial)


def _below(roots: Sequence[Path], include: Sequence[Path]) -> Iterator[Source]:
    others = [path.resolve() for path in include]
    for root in roots:
        for source in _files(root, root):
            if not any(
                other != root.resolve() and other in source.path.resolve().parents for other in others
            ):
                yield source


def _files(path: Path, root: Path) -> Iterator[Source]:
    below = path.resolve().relative_to(root.resolve())
    names = [below] if path.is_file() else [below / name for name in _walk(path)]
    for name in names:
        if not is_shipped(pb2_module(name.as_posix())):
            yield Source(name.as_posix(), root)


def _walk(path: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _NOT_ENTERED)
        below = Path(folder).relative_to(path)
        yield from (below / name for name in files if name.endswith(".proto"))


def _in(roots: Iterable[Path]) -> str:
    listed = ", ".join(map(str, roots))
    return f" in {listed}" if listed else ""


def _must_exist(path: Path) -> None:
    if not path.exists():
        raise Refused(f"{path} does not exist")
