from __future__ import annotations

import asyncio
import json
import socket
import urllib.error
import urllib.request
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from eventwire import Bus, ConfigurationError, Worker
from eventwire.pages import health_pages
from tests.unit.test_worker import Orders


@pytest.fixture
async def bus() -> AsyncGenerator[Bus]:
    async with Bus("memory://") as opened:
        yield opened


def get(port: int, path: str) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, json.load(refused)


async def test_a_worker_is_alive_before_it_reads_and_ready_when_it_does(bus: Bus) -> None:
    worker = Worker(bus, Orders(), group="g")
    async with health_pages(worker, port=0, host="127.0.0.1") as port:
        assert (await asyncio.to_thread(get, port, "/livez"))[0] == 200
        status, told = await asyncio.to_thread(get, port, "/readyz")
        assert (status, told["reasons"]) == (503, ["group g: it has not started to read"])
        async with worker:
            assert (await asyncio.to_thread(get, port, "/readyz"))[0] == 200
            status, told = await asyncio.to_thread(get, port, "/health?verbose")
            assert (status, told["workers"][0]["lag"]) == (200, 0)
        assert (await asyncio.to_thread(get, port, "/readyz"))[0] == 503


async def test_a_loop_that_hangs_is_not_alive(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventwire.pages._ANSWERS_WITHIN", 0.01)
    async with health_pages(Worker(bus, Orders(), group="g"), port=0, host="127.0.0.1") as port:
        status, told = get(port, "/livez")  # called in the loop's own thread, which hangs for as long
    assert status == 503
    assert "does not answer" in told["reasons"][0]


async def test_other_paths_and_a_taken_port_are_told(bus: Bus) -> None:
    worker = Worker(bus, Orders(), group="g")
    async with health_pages(worker, port=0, host="127.0.0.1") as port:
        assert await asyncio.to_thread(get, port, "/") == (
            404,
            {"error": "there are /livez, /readyz, /health"},
        )
    with socket.create_server(("127.0.0.1", 0)) as taken:
        pages = health_pages(worker, port=taken.getsockname()[1], host="127.0.0.1")
        with pytest.raises(ConfigurationError, match="cannot be served"):
            await pages.__aenter__()
