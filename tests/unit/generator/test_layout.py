from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventwire_gen.layout import WIDTH, Group, docstring, lay_out, literal, method, publisher_class, statement

LINES = st.lists(st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"])), min_size=1)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_literal_reads_back(text: str) -> None:
    assert ast.literal_eval(literal(text)) == text


@pytest.mark.parametrize(
    ("text", "source"), [("a", '"a"'), ('a"b', "'a\"b'"), ("it's", '"it\'s"'), ("\\", '"\\\\"')]
)
def test_literal_prefers_double_quotes(text: str, source: str) -> None:
    assert literal(text) == source


@given(LINES, st.sampled_from([0, 4, 8]))
def test_docstring_is_one_string_that_keeps_every_character(lines: list[str], indent: int) -> None:
    source = docstring(lines, indent)
    (statement,) = ast.parse(f"if True:\n{source}" if indent else source).body
    expression = statement.body[0] if isinstance(statement, ast.If) else statement
    assert isinstance(expression, ast.Expr)
    assert isinstance(expression.value, ast.Constant)
    value = expression.value.value
    assert isinstance(value, str)
    assert "".join(value.split()) == "".join("".join(lines).split())


def test_arguments_are_exploded_only_where_they_are_too_long() -> None:
    short = Group("key=FieldPath(", ('"a"', "FieldKind.STRING"))
    assert lay_out(short, 4) == 'key=FieldPath("a", FieldKind.STRING)'
    long = Group("tags=(", tuple(f'"{"x" * 30}{n}"' for n in range(4)))
    lines = lay_out(long, 4).splitlines()
    assert lines[0] == "tags=("
    assert lines[-1] == "    )"
    assert all(len(line) <= WIDTH for line in lines)


def test_a_tuple_of_one_keeps_its_comma() -> None:
    assert str(Group("redacted=(", ('"email"',))) == 'redacted=("email",)'
    assert str(Group("retry=RetryPolicy(", ("jitter=0.0",))) == "retry=RetryPolicy(jitter=0.0)"


def test_long_statements_and_signatures_are_valid() -> None:
    names = [f"VeryLongEventName{number}Happened" for number in range(9)]
    ast.parse(statement(f"from eventwire import {', '.join(names)}"))
    ast.parse(publisher_class("Many", names) + "\n    x = 1\n")
    parameters = ["self", "event: " + "X" * 100, "context: Context"]
    ast.parse("class A:\n" + method("async def on_x", parameters, "None") + '\n        """Doc."""\n')


def test_a_union_is_no_deeper_than_pyright_reads() -> None:
    (made,) = ast.parse(
        publisher_class("Many", [f"Event{number}" for number in range(350)]) + "\n    x = 1\n"
    ).body
    assert isinstance(made, ast.ClassDef)
    assert isinstance(made.bases[0], ast.Subscript)
    assert len([node for node in ast.walk(made.bases[0].slice) if isinstance(node, ast.Name)]) == 350
    assert _depth(made.bases[0].slice) < 256


def _depth(node: ast.expr) -> int:
    return 1 + max(_depth(node.left), _depth(node.right)) if isinstance(node, ast.BinOp) else 0
