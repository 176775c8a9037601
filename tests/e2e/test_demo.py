"""The demo's shop in three processes: every order is accounted for, whatever the broker.

Its topics have fixed names, so on the servers of a run it is the only test that uses them.
"""

import pytest

from examples.shop.demo import shop


@pytest.mark.parametrize(
    "url",
    [
        "sqlite",
        pytest.param("kafka", marks=pytest.mark.server),
        pytest.param("amqp", marks=pytest.mark.server),
    ],
    indirect=True,
)
async def test_every_order_is_accounted_for(url: str) -> None:
    assert await shop(url, 200, 7)
