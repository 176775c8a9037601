"""The types that users see: files under right/ are clean, those under wrong/ fail exactly where they say."""

import re
import shutil
from pathlib import Path

import pytest

from tools import docs

HERE = Path(__file__).parent
CHECKERS = {"mypy": docs.mypy, "pyright": docs.pyright}
MARK = re.compile(r"# wrong: (?P<mypy>[\w-]+) (?P<pyright>[\w ]+)$")
FOUND = re.compile(
    r"(?P<file>[\w./-]+\.py):(?P<line>\d+)(?::\d+)?(?: -|:) error: [\s\S]*?[\[(](?P<code>[\w-]+)[\])]\s*$",
    re.MULTILINE,
)


def folder_with(kind: str, work: Path) -> list[Path]:
    """The files in a folder beside the shop's generated code."""
    shutil.copytree(docs.SHOP / "gen", work / "gen", ignore=shutil.ignore_patterns("__pycache__"))
    return [
        Path(shutil.copy(path, work / f"{kind}_{path.name}")) for path in sorted((HERE / kind).glob("*.py"))
    ]


def marked(files: list[Path], checker: str) -> set[tuple[str, int, str]]:
    return {
        (file.name, number, code)
        for file in files
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if (mark := MARK.search(line))
        for code in mark[checker].split()
    }


@pytest.mark.parametrize("checker", CHECKERS)
def test_right_is_clean(checker: str, tmp_path: Path) -> None:
    files = folder_with("right", tmp_path)
    code, output = CHECKERS[checker](files, tmp_path)
    assert code == 0, output


@pytest.mark.parametrize("checker", CHECKERS)
def test_wrong_fails_where_it_says(checker: str, tmp_path: Path) -> None:
    files = folder_with("wrong", tmp_path)
    _, output = CHECKERS[checker](files, tmp_path)
    found = {(Path(row["file"]).name, int(row["line"]), row["code"]) for row in FOUND.finditer(output)}
    assert found == marked(files, checker), output
