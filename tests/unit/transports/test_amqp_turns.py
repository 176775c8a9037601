import asyncio
from contextlib import AbstractAsyncContextManager

import pytest

from eventwire.transports.amqp.turns import Turns


class Visitor:
    """Takes a turn, and keeps it until told to go."""

    def __init__(self, turn: AbstractAsyncContextManager[None]) -> None:
        self.turns: list[bool] = []
        self.go = asyncio.Event()
        self.task = asyncio.create_task(self._visit(turn))

    async def _visit(self, turn: AbstractAsyncContextManager[None]) -> None:
        async with turn:
            self.turns.append(True)
            await self.go.wait()
        self.turns.pop()

    def inside(self) -> bool:
        return bool(self.turns)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def leave(*visitors: Visitor) -> None:
    for visitor in visitors:
        visitor.go.set()
    await settle()


async def test_many_are_together_and_one_is_alone() -> None:
    turns = Turns()
    first, second = Visitor(turns.together()), Visitor(turns.together())
    await settle()
    assert first.inside()
    assert second.inside()
    single = Visitor(turns.alone())
    await settle()
    late = Visitor(turns.together())
    await leave(first)
    assert not single.inside()
    assert not late.inside()
    await leave(second)
    assert single.inside()
    assert not late.inside()
    await leave(single)
    assert late.inside()
    await leave(late)


async def test_two_are_alone_one_after_the_other() -> None:
    turns = Turns()
    first, second = Visitor(turns.alone()), Visitor(turns.alone())
    await settle()
    assert [first.inside(), second.inside()] == [True, False]
    await leave(first)
    assert second.inside()
    await leave(second)


@pytest.mark.parametrize("inside", [True, False])
async def test_who_is_cancelled_holds_nobody_up(inside: bool) -> None:
    turns = Turns()
    other = Visitor(turns.together())
    await settle()
    single = Visitor(turns.alone())
    await settle()
    if inside:
        await leave(other)
    assert single.inside() == inside
    late = Visitor(turns.together())
    await settle()
    single.task.cancel()
    await settle()
    assert late.inside()
    await leave(late, other)
