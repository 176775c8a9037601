import pytest

from eventwire import tls


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        ("[SSL: CERTIFICATE_VERIFY_FAILED] ... unable to get local issuer certificate", "`cafile=FILE`"),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] ... Hostname mismatch", "by a name"),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] ... certificate has expired", "new certificate"),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] ... certificate is not yet valid", "clocks"),
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number", "`amqp://`"),
    ],
)
def test_a_failed_handshake_says_what_to_do(reason: str, advice: str) -> None:
    assert advice in tls.advice(reason, authority="cafile", plain="amqp")


def test_nobody_knows_everything() -> None:
    assert tls.advice("Connection refused", authority="cafile", plain="amqp") == ""
