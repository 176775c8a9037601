"""The harness of test_pages.py, on a page of its own."""

import shutil
from pathlib import Path

import pytest

from tests.docs.test_pages import run_error, run_python, run_shell, shell_blocks
from tools import docs
from tools.docs import Page, PageFault

SAMPLE = Path(__file__).with_name("sample.md")


@pytest.fixture
def page() -> Page:
    return docs.read(SAMPLE)


def changed(folder: Path, old: str, new: str) -> Page:
    text = SAMPLE.read_text()
    assert old in text
    target = folder / "changed.md"
    target.write_text(text.replace(old, new))
    return docs.read(target)


def test_blocks_and_their_directives(page: Page) -> None:
    assert [(block.language, block.directive) for block in page.blocks] == [
        ("proto", "file"),
        ("python", ""),
        ("python", ""),
        ("python", "typed"),
        ("sh", "skip"),
        ("python", "error"),
        ("text", ""),
        ("python", "error"),
        ("text", ""),
        ("sh", ""),
        ("console", "fails"),
    ]


def test_a_script_keeps_the_lines_of_the_page(page: Page) -> None:
    lines = docs.script(page, page.python("")).splitlines()
    assert (
        lines[SAMPLE.read_text().splitlines().index("await asyncio.sleep(0)")] == "    await asyncio.sleep(0)"
    )


def test_the_sample_runs(page: Page, tmp_path: Path) -> None:
    run_python(page, tmp_path)
    for block in shell_blocks(page):
        run_shell(block, tmp_path)


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_an_error_is_the_one_that_is_shown(checker: str, page: Page, tmp_path: Path) -> None:
    (block,) = (block for block in page.blocks if (block.directive, block.argument) == ("error", checker))
    run_error(page, block, tmp_path)


def test_the_sample_is_typed(page: Page) -> None:
    assert docs.check(page) == ""


def test_a_type_error_is_told_at_its_line_of_the_page(tmp_path: Path) -> None:
    page = changed(tmp_path, "grams=3)", 'grams="3")')
    line = page.path.read_text().splitlines().index('cup = Tea(leaf="assam", grams="3")') + 1
    assert f"{page.path}:{line}: error: " in docs.check(page)


def test_python_that_raises_is_a_fault(tmp_path: Path) -> None:
    page = changed(tmp_path, 'leaf="assam", grams=3', "leaf=3")
    with pytest.raises(PageFault, match="TypeError"):
        run_python(page, tmp_path / "work")


@pytest.mark.parametrize(
    ("old", "new"),
    [("$ echo hello;", "$ false &&"), ("\nworld\n", "\nmoon\n"), ("-i '/grams", "-i '/gram_s")],
)
def test_a_command_that_does_otherwise_is_a_fault(old: str, new: str, tmp_path: Path) -> None:
    page = changed(tmp_path, old, new)
    work = tmp_path / "work"
    shutil.copytree(docs.ROOT / "proto", work / "vocabulary")
    (work / "buf.yaml").write_text(docs.BUF_YAML)
    for name, text in page.protos.items():
        (work / "proto" / name).parent.mkdir(parents=True)
        (work / "proto" / name).write_text(text)
    setup, console = shell_blocks(page)
    run_shell(setup, work)
    with pytest.raises(AssertionError):
        run_shell(console, work)


@pytest.mark.parametrize("directive", ["skip", "never", "error"])
def test_a_directive_needs_its_reason(directive: str, tmp_path: Path) -> None:
    with pytest.raises(PageFault, match=r"changed.md:\d+: `test: "):
        changed(tmp_path, "test: skip nobody has this command", f"test: {directive}")


def test_shown_lines_are_compared_loosely_and_in_order() -> None:
    output = "start\n/tmp/x/page.py:7:3 - error:   No such thing \nmiddle\nend 12 s\n"
    assert docs.matches("a.py:1: error: No such thing\nend ... s", output)
    assert not docs.matches("end\nstart", output)
