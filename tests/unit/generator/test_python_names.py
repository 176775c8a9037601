import keyword

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventwire_gen.python_names import (
    Imports,
    checker_name,
    checker_path,
    has_keyword,
    import_source,
    is_external,
    is_name,
    is_shipped,
    module_path,
    pb2_module,
)


@pytest.mark.parametrize(
    ("proto", "module"),
    [
        ("a.proto", "a_pb2"),
        ("shop/orders/v1/orders.proto", "shop.orders.v1.orders_pb2"),
        ("a/b-c.proto", "a.b_c_pb2"),
        ("a/b.v1.proto", "a.b.v1_pb2"),
        ("old.protodevel", "old_pb2"),
    ],
)
def test_modules_are_named_as_protoc_names_them(proto: str, module: str) -> None:
    assert pb2_module(proto) == module


def test_a_module_path_is_below_the_output_folder() -> None:
    assert module_path("a.b_pb2") == "a/b_pb2.py"
    assert module_path("a.b_pb2", ".pyi") == "a/b_pb2.pyi"


@pytest.mark.parametrize("module", ["class.x_pb2", "a.from.x_pb2", "3rd.x_pb2", "a.b c_pb2", "None.x_pb2"])
def test_modules_that_no_import_statement_can_spell(module: str) -> None:
    assert has_keyword(module)
    assert not has_keyword("shop.orders.v1.orders_pb2")


@pytest.mark.parametrize(
    ("module", "external", "shipped"),
    [
        ("google.protobuf.timestamp_pb2", True, True),
        ("google.protobuf.compiler.plugin_pb2", True, True),
        ("google.protobuf.unittest_pb2", False, False),
        ("google.type.money_pb2", True, False),
        ("google.rpc.context.attribute_context_pb2", True, False),
        ("google.api.expr.v1alpha1.syntax_pb2", False, False),
        ("google.firestore.v1.document_pb2", False, False),
        ("eventwire.v1.options_pb2", True, True),
        ("googlemaps.x_pb2", False, False),
    ],
)
def test_what_never_moves_into_a_package(module: str, external: bool, shipped: bool) -> None:
    assert is_external(module) is external
    assert is_shipped(module) is shipped


@pytest.mark.parametrize(
    ("module", "current", "package", "source"),
    [
        ("shop.v1.a_pb2", "shop.v1.a_eventwire", None, ".a_pb2"),
        ("shop.v1.a_pb2", "shop.v1.a_eventwire", "acme.gen", ".a_pb2"),
        ("shop.v1.a_pb2", "shop.v2.a_eventwire", None, "shop.v1.a_pb2"),
        ("shop.v1.a_pb2", "shop.v2.a_eventwire", "acme.gen", "acme.gen.shop.v1.a_pb2"),
        ("root_pb2", "root_eventwire", None, "root_pb2"),
        ("root_pb2", "root_eventwire", "acme", "acme.root_pb2"),
        ("google.type.money_pb2", "shop.v1.a_pb2", "acme", "google.type.money_pb2"),
        ("google.protobuf.any_pb2", "google.protobuf.unittest_pb2", "acme", "google.protobuf.any_pb2"),
        ("class.a_pb2", "class.b_pb2", None, ".a_pb2"),
        ("class.a.x_pb2", "class.b.y_pb2", None, "..a.x_pb2"),
        ("class.a.x_pb2", "shop.y_pb2", None, None),
        ("class.from.x_pb2", "class.b.y_pb2", None, None),
    ],
)
def test_the_source_of_an_import(module: str, current: str, package: str | None, source: str | None) -> None:
    assert import_source(module, current, package) == source


def test_names_for_type_checkers() -> None:
    assert [checker_name(name) for name in ("Order", "None", "_Private")] == ["Order", "None_", "Private_"]
    assert [checker_name(name) for name in ("__Private", "_1", "_", "DESCRIPTOR")] == [
        *("Private__", "M1_", "M_", "DESCRIPTOR_"),
    ]
    assert checker_name("Clear") == "Clear"
    assert checker_path("Clear.Clear.class") == "Clear.Clear_.class_"


def test_messages_are_imported_once_and_sorted() -> None:
    imports = Imports("shop.v1.a_eventwire", None)
    expressions = [imports.message("shop.v1.a_pb2", name) for name in ("B", "A.Inner", "B")]
    assert expressions == ["B", "A.Inner", "B"]
    assert imports.statements() == ["from .a_pb2 import A, B"]


def test_a_name_of_python_s_own_is_not_imported_as_it_is() -> None:
    imports = Imports("shop.v1.a_eventwire", None)
    assert imports.message("shop.v1.a_pb2", "__all__") == "allMessage"


def test_a_reserved_name_and_a_builtin_are_aliased() -> None:
    imports = Imports("shop.v1.a_eventwire", None)
    imports.reserve(["OrdersPublisher"])
    assert imports.message("shop.v1.a_pb2", "OrdersPublisher") == "OrdersPublisherMessage"
    assert imports.message("shop.v1.a_pb2", "str") == "strMessage"
    assert imports.message("other.a_pb2", "str") == "strMessage_"
    assert imports.statements() == [
        "from .a_pb2 import OrdersPublisher as OrdersPublisherMessage, str as strMessage",
        "from other.a_pb2 import str as strMessage_",
    ]


def test_a_keyword_class_has_a_type_and_is_loaded_at_run_time() -> None:
    imports = Imports("shop.v1.a_eventwire", None)
    assert imports.message("shop.v1.a_pb2", "None") == "NoneMessage"
    assert imports.message("shop.v1.a_pb2", "Outer.class.Inner") == "Outer_class.Inner"
    assert imports.statements() == [
        "from importlib import import_module",
        "from typing import TYPE_CHECKING",
        "from .a_pb2 import Outer",
        (
            "if TYPE_CHECKING:\n"
            "    from .a_pb2 import None_ as NoneMessage\n"
            "    Outer_class = Outer.class_\n"
            "else:\n"
            '    NoneMessage = getattr(import_module(".a_pb2", __package__), "None")\n'
            '    Outer_class = getattr(Outer, "class")'
        ),
    ]


def test_a_class_of_a_keyword_module_is_a_plain_message_to_the_checker() -> None:
    imports = Imports("shop.v1.a_eventwire", "acme")
    assert imports.message("class.x_pb2", "A.B") == "A_B"
    assert imports.statements()[-1] == (
        "if TYPE_CHECKING:\n"
        "    from google.protobuf.message import Message as A_B\n"
        "else:\n"
        '    A_B = getattr(getattr(import_module("acme.class.x_pb2"), "A"), "B")'
    )


_names = st.one_of(
    st.sampled_from([*keyword.kwlist, "A", "_A", "str", "Clear"]),
    st.from_regex("[A-Za-z_][A-Za-z0-9_]{0,4}", fullmatch=True),
)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a.x_pb2", "b.x_pb2", "class.x_pb2"]), st.lists(_names, min_size=1, max_size=3)
        ),
        max_size=6,
    ),
    st.sampled_from([None, "acme.gen"]),
)
def test_whatever_the_names_the_statements_are_python(
    used: list[tuple[str, list[str]]], package: str | None
) -> None:
    imports = Imports("a.y_eventwire", package)
    expressions = [imports.message(module, ".".join(path)) for module, path in used]
    compile("\n".join([*imports.statements(), *expressions]), "generated", "exec")
    assert all(is_name(part) for expression in expressions for part in expression.split("."))
    distinct = {(module, *path) for module, path in used}
    assert len(set(expressions)) == len(distinct)
