"""Code blocks of README.md and docs/*.md: read, laid out in a folder, type-checked, run.

python -m tools.docs [PAGE ...]   checks the Python of the pages with mypy and pyright

The conventions (`<!-- test: ... -->` above a block) are in CONTRIBUTING.md. Line n of a page's script is line
n of the page, so every message points into the page.
"""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
SHOP = ROOT / "examples/shop"
SHELLS = {"sh", "console"}
DIRECTIVES = {"skip", "typed", "file", "error", "fails", "setup"}
NEED_ARGUMENT = DIRECTIVES - {"fails"}
BUF_YAML = """\
version: v2
modules: [{path: proto}, {path: vocabulary}]
lint: {use: [STANDARD]}
breaking: {use: [FILE]}
"""


class PageFault(Exception):
    """A page does not keep to the conventions; the text tells where and how."""


@dataclass(frozen=True)
class Block:
    """A fenced block, or the hidden commands of a `setup` comment."""

    language: str
    text: str
    line: int  # of its first line of text, counted from 1
    directive: str = ""
    argument: str = ""

    @property
    def file(self) -> str:
        """The path it is written to: from its directive, or a .proto's first line `// a/b.proto`."""
        if self.directive == "file":
            return self.argument
        named = re.match(r"// (\S+\.proto)\n", self.text) if self.language == "proto" else None
        return named[1] if named and not self.directive else ""


@dataclass(frozen=True)
class Page:
    """A Markdown file."""

    path: Path
    blocks: tuple[Block, ...]

    @property
    def protos(self) -> dict[str, str]:
        """The .proto files it shows; a later text of a name replaces the earlier."""
        return {block.file: block.text for block in self.blocks if block.language == "proto" and block.file}

    def python(self, *directives: str) -> list[Block]:
        """Its Python blocks with one of the directives ("" is none)."""
        return [
            block for block in self.blocks if block.language == "python" and block.directive in directives
        ]

    def shown_after(self, block: Block) -> str:
        """The text of the next block: what an `error` block is said to print."""
        following = self.blocks[self.blocks.index(block) + 1 :]
        return following[0].text if following else ""


def pages() -> list[Path]:
    """Every page of the project."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def read(path: Path) -> Page:
    """The page; PageFault for a directive that does not exist or lacks its argument."""
    return Page(path, tuple(_blocks(path, path.read_text().splitlines())))


def _blocks(path: Path, lines: Sequence[str]) -> Iterator[Block]:
    directive, rows = ("", ""), iter(enumerate(lines, 1))
    for number, line in rows:
        if line.startswith("<!-- test:"):
            text = "\n".join([line, *(_until(rows, "-->") if "-->" not in line else ())])
            directive = _directive(f"{path.name}:{number}", text)
            if directive[0] == "setup":
                yield Block("sh", directive[1] + "\n", number)
                directive = ("", "")
        elif fence := re.match(r"(```+)(\w*)", line):
            yield Block(
                fence[2], "".join(f"{row}\n" for row in _until(rows, fence[1])), number + 1, *directive
            )
            directive = ("", "")
        elif line.strip():
            directive = ("", "")


def _until(rows: Iterator[tuple[int, str]], end: str) -> Iterator[str]:
    for _, row in rows:
        if row.strip() == end:
            return
        yield row


def _directive(place: str, text: str) -> tuple[str, str]:
    name, _, argument = text.removeprefix("<!-- test:").removesuffix("-->").strip().partition(" ")
    name, argument = (
        (name.split("\n")[0], text.partition("\n")[2]) if "\n" in text else (name, argument.strip())
    )
    if name not in DIRECTIVES or (name in NEED_ARGUMENT and not argument):
        raise PageFault(
            f"{place}: `test: {name} {argument}`: one of {', '.join(sorted(DIRECTIVES))}, with its reason or name"
        )
    return name, argument


def script(page: Page, blocks: Sequence[Block]) -> str:
    """The blocks as one module, in one async function if they await at the top level."""
    rows = [""] * len(page.path.read_text().splitlines())
    source = "".join(block.text for block in blocks)
    awaits = bool(blocks) and _awaits(source)
    for block in blocks:
        text = block.text.splitlines()
        rows[block.line - 1 : block.line - 1 + len(text)] = [
            f"    {row}" if awaits and row else row for row in text
        ]
    if awaits:
        rows[blocks[0].line - 2] = "async def page() -> None:"
        rows += ["import asyncio", "", "asyncio.run(page())"]
    return "\n".join(rows) + "\n"


def _awaits(source: str) -> bool:
    try:
        compile(source, "page", "exec")
    except SyntaxError:
        compile(source, "page", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)  # any other fault is raised here
        return True
    return False


def lay_out(page: Page, folder: Path) -> Path:
    """Writes the files that the page shows, or the shop's where it shows no .proto; where its code is generated."""
    shutil.copytree(ROOT / "proto", folder / "vocabulary")
    (folder / "buf.yaml").write_text(BUF_YAML)
    for name, text in page.protos.items():
        _write(folder / "proto" / name, text)
    for block in page.blocks:
        if block.directive == "file" and block.language != "proto":
            _write(folder / block.file, block.text)
    if page.protos:
        run([sys.executable, "-m", "eventwire", "gen", "proto", "--out", "gen"], folder, check=True)
    else:
        shutil.copytree(SHOP / "proto", folder / "proto")
        shutil.copytree(SHOP / "gen", folder / "gen", ignore=shutil.ignore_patterns("__pycache__"))
    return folder / "gen"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def run(command: Sequence[str], folder: Path, *, check: bool = False) -> tuple[int, str]:
    """Exit code and output of a command that finds the page's code and the environment's tools."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": f"{folder / 'gen'}{os.pathsep}{folder}",
        "MYPYPATH": f"{folder / 'gen'}{os.pathsep}{folder}",
    }
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    output = done.stdout + done.stderr
    if check and done.returncode:
        raise PageFault(f"`{' '.join(command)}` exits with {done.returncode}\n{output}")
    return done.returncode, output


def mypy(files: Sequence[Path], folder: Path) -> tuple[int, str]:
    """Checks them as the project's own code; `folder` holds the generated code."""
    cache = f"--cache-dir={ROOT / '.mypy_cache' / 'docs' / files[0].stem}"
    options = ["--strict", "--namespace-packages", "--explicit-package-bases", "--no-error-summary", cache]
    command = [sys.executable, "-m", "mypy", "--config-file=", *options, "--exclude", r"_pb2\.py$"]
    return run([*command, *map(str, files)], folder)


def pyright(files: Sequence[Path], folder: Path) -> tuple[int, str]:
    """Checks them as the project's own code; `folder` holds the generated code."""
    settings = {
        "include": [str(file.relative_to(folder)) for file in files],
        "extraPaths": ["gen", ".", str(ROOT / "runtime"), str(ROOT / "generator")],
        "typeCheckingMode": "strict",
        "pythonVersion": "3.11",
    }
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    return run([sys.executable, "-m", "pyright", "-p", ".", "--pythonpath", sys.executable], folder)


def check(page: Page) -> str:
    """What mypy and pyright have to say about the page's Python; nothing is good."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lay_out(page, folder)
        target = folder / (re.sub(r"\W", "_", page.path.stem) + "_page.py")
        target.write_text(script(page, page.python("", "typed")))
        files = [target, *(folder / block.file for block in page.python("file"))]
        results = [mypy(files, folder), pyright(files, folder)]
    shown = str(page.path.relative_to(ROOT)) if page.path.is_relative_to(ROOT) else str(page.path)
    output = "".join(text for code, text in results if code)
    return output.replace(str(target), shown).replace(target.name, shown)


def matches(shown: str, output: str) -> bool:
    """Whether each shown line stands in the output, in this order; spaces and places are loose, `...` is anything."""
    rows = iter([_plain(row) for row in output.splitlines()])
    wanted = (row for row in map(_plain, shown.splitlines()) if row)
    return all(any(re.search(_pattern(row), found) for found in rows) for row in wanted)


def _plain(row: str) -> str:
    return re.sub(r"^\s*\S+?:\d+(:\d+)?:?\s+(- )?", "", " ".join(row.split()))


def _pattern(row: str) -> str:
    return ".*".join(re.escape(part.strip()) for part in row.split("..."))


def links(page: Page) -> list[str]:
    """The relative targets of its links, without what follows `#`."""
    found = re.findall(r"\]\((?!\w+:)([^)#\s]+)", page.path.read_text())
    return [link for link in found if not link.startswith("//")]


def main(arguments: Sequence[str]) -> int:
    """1 when a page has a fault."""
    found = [read(Path(name).resolve()) for name in arguments] or [read(path) for path in pages()]
    with ThreadPoolExecutor(2) as pool:
        faults = [
            fault
            for fault in pool.map(check, [page for page in found if page.python("", "typed", "file")])
            if fault
        ]
    print("\n".join(faults) or f"{len(found)} pages")
    return 1 if faults else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except PageFault as fault:
        sys.exit(str(fault))
