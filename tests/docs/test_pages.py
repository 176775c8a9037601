"""Every code block of README.md and docs/ does what the page says. The conventions are in CONTRIBUTING.md."""

import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from tools import docs
from tools.docs import SHELLS, Block, Page

PAGES = [docs.read(path) for path in docs.pages()]
CHECKERS: dict[str, Callable[[list[Path], Path], tuple[int, str]]] = {
    "mypy": docs.mypy,
    "pyright": docs.pyright,
}


def parameters(*directives: str) -> list[ParameterSet]:
    return [
        pytest.param(page, block, id=f"{page.path.name}:{block.line}")
        for page in PAGES
        for block in page.blocks
        if block.directive in directives
    ]


def shell_blocks(page: Page) -> list[Block]:
    return [block for block in page.blocks if block.language in SHELLS and block.directive in {"", "fails"}]


def run_python(page: Page, folder: Path) -> None:
    docs.lay_out(page, folder)
    (folder / "page.py").write_text(docs.script(page, page.python("")))
    docs.run([sys.executable, "-W", "error", "page.py"], folder, check=True)


def run_shell(block: Block, folder: Path) -> None:
    """A console block's commands begin with `$ `, what follows is in their output."""
    if block.language == "sh":
        docs.run(["sh", "-euc", block.text], folder, check=True)
        return
    _, *parts = f"\n{block.text}".split("\n$ ")
    for number, part in enumerate(parts, 1):
        command, _, shown = part.replace("\\\n", " ").partition("\n")
        code, output = docs.run(["sh", "-c", command], folder)
        fails = block.directive == "fails" and number == len(parts)
        assert (code != 0) == fails, f"`{command}` exits with {code}\n{output}"
        assert docs.matches(shown, output), f"`{command}` prints\n{output}"


def run_error(page: Page, block: Block, folder: Path) -> None:
    """The block is checked after the page's good ones, and the next block is what the checker says."""
    docs.lay_out(page, folder)
    target = folder / "page.py"
    before = [other for other in page.python("", "typed") if other.line < block.line]
    target.write_text(docs.script(page, [*before, block]))
    code, output = CHECKERS[block.argument]([target], folder)
    assert code, f"{block.argument} finds nothing"
    assert docs.matches(page.shown_after(block), output), f"{block.argument} prints\n{output}"


@pytest.mark.parametrize("page", [pytest.param(page, id=page.path.name) for page in PAGES])
def test_page(page: Page, tmp_path: Path) -> None:
    if page.python("") or shell_blocks(page):
        run_python(page, tmp_path)
    for block in shell_blocks(page):
        run_shell(block, tmp_path)


@pytest.mark.parametrize(("page", "block"), parameters("error"))
def test_error(page: Page, block: Block, tmp_path: Path) -> None:
    run_error(page, block, tmp_path)


@pytest.mark.parametrize(("page", "block"), parameters("skip", "typed"))
def test_block_that_does_not_run(page: Page, block: Block) -> None:
    pytest.skip(f"{page.path.name}:{block.line}: {block.argument}")


@pytest.mark.parametrize("page", [pytest.param(page, id=page.path.name) for page in PAGES])
def test_links_lead_to_files(page: Page) -> None:
    assert [link for link in docs.links(page) if not (page.path.parent / link).exists()] == []


def test_commands_are_targets_of_the_makefile() -> None:
    targets = {
        line.partition(":")[0] for line in (docs.ROOT / "Makefile").read_text().splitlines() if ": " in line
    }
    rows = [
        row.removeprefix("$ ") for page in PAGES for block in page.blocks for row in block.text.splitlines()
    ]
    assert [
        row for row in rows if row.startswith("make ") and shlex.split(row, comments=True)[1] not in targets
    ] == []
    assert (
        subprocess.run(
            ["make", "--dry-run", "help"], cwd=docs.ROOT, capture_output=True, check=False
        ).returncode
        == 0
    )
