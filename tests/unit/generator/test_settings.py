from __future__ import annotations

from pathlib import Path

import pytest

from eventwire_gen.backends import BETTERPROTO2
from eventwire_gen.settings import Settings, SettingsError, parse_parameter


def test_nothing_gives_the_defaults() -> None:
    assert parse_parameter("") == Settings()


def test_parameters_as_protoc_joins_them(tmp_path: Path) -> None:
    assert parse_parameter(f"messages=betterproto2,pyi=false, templates={tmp_path}") == Settings(
        backend=BETTERPROTO2, pyi=False, templates=tmp_path
    )


@pytest.mark.parametrize(
    ("parameter", "text"),
    [
        ("mesages=protobuf", 'unknown parameter "mesages", did you mean "messages"'),
        ("zzz", 'unknown parameter "zzz"; there are messages, pyi, templates'),
        ("messages=betterprot", 'messages="betterprot" is unknown, did you mean "betterproto"'),
        ("messages", 'messages="" is unknown'),
        ("pyi=no", 'pyi is true or false, not "no"'),
        ("templates=/does/not/exist", "is no folder"),
        ("templates=", "is no folder"),
        ("package=acme", "run `eventwire gen --package acme` instead"),
    ],
)
def test_wrong_parameters_are_told_with_the_nearest(parameter: str, text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_parameter(parameter)
    assert text in str(caught.value)
