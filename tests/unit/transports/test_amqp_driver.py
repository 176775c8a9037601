import importlib
import sys

import pytest


def test_of_a_driver_that_is_not_installed_the_package_to_install_is_missed_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    package = "eventwire.transports.amqp"
    for name in list(sys.modules):
        if name == package or name.startswith(f"{package}."):
            monkeypatch.delitem(sys.modules, name)
    for name in ("aio_pika", "aiormq", "pamqp"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError) as caught:
        importlib.import_module(package)
    assert caught.value.name == "aio_pika"
