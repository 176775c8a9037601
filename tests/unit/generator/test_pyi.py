import ast
import textwrap
from typing import TypeGuard

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventwire_gen.pyi import render
from eventwire_gen.pyi.comments import quoted
from tests.unit.generator.protos import compiled


def stub(text: str, name: str = "shop/v1/a.proto", package: str | None = None, **others: str) -> str:
    files = {f"{key}.proto".replace("__", "/"): value for key, value in others.items()}
    found = compiled({name: textwrap.dedent(text), **files})
    rendered = render(found[name], found, package)
    ast.parse(rendered)
    return rendered


def has(rendered: str, *lines: str) -> None:
    present = {line.strip() for line in rendered.splitlines()}
    missing = [line for line in lines if line not in present]
    assert not missing, f"missing {missing} in\n{rendered}"


def test_scalars_are_attributes_and_arguments() -> None:
    rendered = stub(
        'syntax = "proto3"; message A { string s = 1; int64 n = 2; bytes b = 3; double d = 4; bool f = 5; }'
    )
    has(rendered, "s: str", "n: int", "b: bytes", "d: float", "f: bool", "N_FIELD_NUMBER: Final = 2")
    has(rendered, "s: str | None = None,", "d: float | None = None,")


def test_messages_lists_and_maps_are_read_only_containers() -> None:
    rendered = stub(
        """
        syntax = "proto3";
        message A {
          A a = 1; repeated A many = 2; repeated int32 n = 3; map<string, A> by = 4; map<int32, bytes> raw = 5;
        }
        """
    )
    has(rendered, "def a(self) -> A: ...", "def many(self) -> RepeatedCompositeFieldContainer[A]: ...")
    has(rendered, "def n(self) -> RepeatedScalarFieldContainer[int]: ...")
    has(rendered, "def by(self) -> MessageMap[str, A]: ...", "def raw(self) -> ScalarMap[int, bytes]: ...")
    has(rendered, "many: Iterable[A] | None = None,", "by: Mapping[str, A] | None = None,")
    assert "ByEntry" not in rendered


def test_well_known_types_take_what_protobuf_converts() -> None:
    rendered = stub(
        """
        syntax = "proto3";
        import "google/protobuf/timestamp.proto";
        import "google/protobuf/struct.proto";
        message A {
          google.protobuf.Timestamp at = 1; google.protobuf.Struct more = 2; google.protobuf.NullValue nil = 3;
        }
        """
    )
    has(rendered, "def at(self) -> Timestamp: ...", "def at(self, value: datetime) -> None: ...")
    has(rendered, "def more(self, value: Struct | dict[str, Any]) -> None: ...", "nil: NullValue.ValueType")
    has(rendered, "at: Timestamp | datetime | None = None,", "more: Struct | dict[str, Any] | None = None,")


def test_enums_are_typed_by_their_class() -> None:
    rendered = stub(
        'syntax = "proto3"; enum E { E_A = 0; mro = 1; real = 2; } message A { E e = 1; repeated E es = 2; }'
    )
    has(
        rendered,
        "class E(int, metaclass=_EWrapper):",
        "E_A: ClassVar[E]",
        "mro: ClassVar[E]",
        "real: E",
        "e: E",
    )
    has(
        rendered, "def items(self) -> list[tuple[str, E]]: ...", "def __new__(cls, never: Never, /) -> E: ..."
    )
    assert "real: ClassVar" not in rendered
    assert "es: Iterable[E | str] | None = None" in rendered


def test_presence_and_oneofs_are_literals() -> None:
    rendered = stub(
        """
        syntax = "proto3";
        message A {
          string plain = 1; optional string maybe = 2; oneof x { string s = 3; A a = 4; } oneof y { int32 n = 5; }
        }
        """
    )
    has(rendered, 'def HasField(self, field_name: Literal["maybe", "s", "a", "n", "x", "y"]) -> bool: ...')
    has(rendered, 'def WhichOneof(self, oneof_group: Literal["x"]) -> Literal["s", "a"] | None: ...')
    assert rendered.count("@overload") == 2


@pytest.mark.parametrize(
    ("head", "field", "present"),
    [
        ('syntax = "proto2";', "optional string s = 1;", True),
        ('syntax = "proto2";', "required string s = 1;", True),
        ('syntax = "proto2";', "repeated string s = 1;", False),
        ('syntax = "proto3";', "string s = 1;", False),
        ('edition = "2023";', "string s = 1;", True),
        ('edition = "2023"; option features.field_presence = IMPLICIT;', "string s = 1;", False),
        (
            'edition = "2023"; option features.field_presence = IMPLICIT;',
            "string s = 1 [features.field_presence = EXPLICIT];",
            True,
        ),
        ('edition = "2024";', "string s = 1 [features.field_presence = LEGACY_REQUIRED];", True),
        ('edition = "2023"; option features.field_presence = IMPLICIT;', "A s = 1;", True),
    ],
)
def test_presence_follows_syntax_and_features(head: str, field: str, present: bool) -> None:
    rendered = stub(f"{head} message A {{ {field} }}")
    expected = 'Literal["s"]' if present else "Never"
    has(rendered, f"def HasField(self, field_name: {expected}) -> bool: ...")


def test_names_that_hide_others_are_imported_under_another() -> None:
    rendered = stub(
        """
        syntax = "proto3";
        message A {
          string str = 1; int32 property = 2; repeated A Iterable = 3; string self = 4; message Final { A A = 1; }
        }
        """
    )
    has(
        rendered,
        "from builtins import property as property_, str as str_",
        "from typing import Final as Final_, Literal, Never",
    )
    has(rendered, "str: str_", "@property_", "_self,", "Iterable: Iterable_[A_] | None = None,", "A_ = A")


def test_what_python_cannot_spell_is_left_out_or_renamed() -> None:
    rendered = stub(
        """
        syntax = "proto3";
        message None { string from = 1; string ok = 2; enum class { is = 0; A = 1; } class c = 3; }
        message _Private { None none = 1; }
        """
    )
    has(rendered, "class None_(Message):", "class class_(int, metaclass=_classWrapper):", "c: None_.class_")
    has(
        rendered, "class _Private(Message):", "Private_: TypeAlias = _Private", "def none(self) -> None_: ..."
    )
    has(rendered, 'def ClearField(self, field_name: Literal["from", "ok", "c"]) -> None: ...')
    assert "from: " not in rendered
    assert "is: " not in rendered


def test_fields_and_classes_named_like_methods_do_not_override_them() -> None:
    rendered = stub(
        'syntax = "proto3"; message A { string Clear = 1; message MergeFrom {} MergeFrom m = 2; }'
    )
    has(rendered, "class MergeFrom_(Message):", "def m(self) -> A.MergeFrom_: ...")
    assert "\n    Clear:" not in rendered
    assert "Clear: str | None = None" in rendered


def test_extensions_are_typed_handles() -> None:
    rendered = stub(
        """
        syntax = "proto2";
        message A { extensions 100 to 200; message In { extend A { optional In inner = 101; } } }
        extend A { repeated string tags = 100; optional int32 class = 102; }
        """
    )
    has(
        rendered,
        "tags: ExtensionFieldDescriptor[A, RepeatedScalarFieldContainer[str]]",
        "TAGS_FIELD_NUMBER: Final = 100",
    )
    has(rendered, "inner: ExtensionFieldDescriptor[A, A.In]")
    assert "class: " not in rendered


def test_imports_follow_the_layout() -> None:
    text = """
        syntax = "proto3";
        package shop.v1;
        import "shop/v1/b.proto";
        import "shop/v2/c.proto";
        import "class/d.proto";
        message A { B b = 1; shop.v2.C c = 2; kw.D d = 3; kw.E e = 4; repeated kw.D ds = 5; }
        """
    others = {
        "shop__v1__b": 'syntax = "proto3"; package shop.v1; message B {}',
        "shop__v2__c": 'syntax = "proto3"; package shop.v2; message C {}',
        "class__d": 'syntax = "proto3"; package kw; message D {} enum E { ZERO = 0; }',
    }
    plain, moved = stub(text, **others), stub(text, package="acme.gen", **others)
    has(plain, "from .b_pb2 import B", "from shop.v2.c_pb2 import C")
    has(moved, "from .b_pb2 import B", "from acme.gen.shop.v2.c_pb2 import C")
    has(
        plain,
        "def d(self) -> Message: ...",
        "e: int",
        "def ds(self) -> RepeatedCompositeFieldContainer[Message]: ...",
    )


def test_public_imports_are_re_exported() -> None:
    rendered = stub(
        'syntax = "proto3"; import public "shop/v1/b.proto"; message A { E e = 1; }',
        shop__v1__b='syntax = "proto3"; message B {} message class {} enum E { ZERO = 0; }',
    )
    has(rendered, "from .b_pb2 import B as B, E as E, E as E_, ZERO as ZERO, class_ as class_", "e: E_")


def test_comments_are_docstrings() -> None:
    rendered = stub(
        r"""
        syntax = "proto3";
        // Says 'hello' with a backslash at the end \
        message A {
          // First.
          //
          //   Indented "second".
          string a = 1 [deprecated = true];
          A b = 2; // trailing "quote"
        }
        """
    )
    (cls,) = [node for node in ast.parse(rendered).body if isinstance(node, ast.ClassDef)]
    assert ast.get_docstring(cls) == "Says 'hello' with a backslash at the end \\"
    texts = [
        node.value.value for node in ast.walk(cls) if isinstance(node, ast.Expr) and _is_text(node.value)
    ]
    assert 'Deprecated.\n\n    First.\n\n      Indented "second".\n    ' in texts
    assert 'trailing "quote"\n        ' in texts


def _is_text(node: ast.expr) -> TypeGuard[ast.Constant]:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


_lines = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"))


@given(st.lists(_lines, min_size=1).filter(any))
def test_any_comment_makes_a_docstring_that_says_the_same(lines: list[str]) -> None:
    literal = "\n".join(quoted(lines))
    value = ast.literal_eval(literal)
    assert value.rstrip("\n").split("\n") == "\n".join(lines).rstrip("\n").split("\n")
