"""Supervision, caching, readiness and the command line; the marked tests start Kafka and RabbitMQ."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import aio_pika
import psycopg
import pytest
import redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from pamqp.common import FieldValue
from psycopg.rows import tuple_row

from tools import servers
from tools.servers import cache, command, debian, docker, java, kafka_node, maven
from tools.servers.probe import amqp_ready, kafka_ready, postgres_ready, redis_ready
from tools.servers.process import Program, Supervised, attempt, environment, free_ports

ROOT = Path(__file__).parents[2]
PATIENCE = 20.0  # upper bound of waiting for something that must happen; not a measurement


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def processes_of(folder: Path) -> list[int]:
    """Processes that name the folder in their command line or environment."""
    found: list[int] = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            if str(folder).encode() in words and int(entry.name) != os.getpid():
                found.append(int(entry.name))
    return found


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def command_line(*arguments: str, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tools.servers", *arguments],
        cwd=ROOT,
        env=environment(EVENTWIRE_NO_DOCKER="1") | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# Ports and readiness


def test_free_ports_are_distinct_and_out_of_the_range_of_outgoing_connections() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert all(1024 < port < 32768 for port in ports)


@contextlib.contextmanager
def listener(answer: bytes) -> Generator[int]:
    """Accepts one connection, reads a little, answers and closes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                connection, _ = server.accept()
                with connection:
                    connection.recv(1024)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            thread.join()


@pytest.mark.parametrize("probe", [kafka_ready, amqp_ready, postgres_ready, redis_ready])
def test_an_accepted_connection_is_not_readiness(probe: Callable[[int], bool]) -> None:
    with listener(b"") as port:
        assert not attempt(lambda: probe(port))


def test_kafka_without_a_registered_broker_is_not_ready() -> None:
    with listener(bytes.fromhex("00000014 00000001 00000000")) as port:
        assert not kafka_ready(port)
    with listener(bytes.fromhex("00000014 00000001 00000001")) as port:
        assert kafka_ready(port)


def test_amqp_is_ready_when_it_answers_connection_start() -> None:
    with listener(b"AMQP\x00\x00\x09\x01 no") as port:
        assert not amqp_ready(port)
    with listener(bytes.fromhex("01 0000 000001f0 000a 000a")) as port:
        assert amqp_ready(port)


def test_postgres_is_ready_when_it_asks_for_authentication() -> None:
    with listener(b"E\x00\x00\x00\x04starting up") as port:
        assert not postgres_ready(port)
    with listener(bytes.fromhex("52 00000008 00000000")) as port:
        assert postgres_ready(port)


def test_redis_that_loads_its_data_is_not_ready() -> None:
    with listener(b"-LOADING Redis is loading the dataset in memory\r\n") as port:
        assert not redis_ready(port)
    with listener(b"+PONG\r\n") as port:
        assert redis_ready(port)


# Supervision


def program(shell: str, ready: Callable[[], bool] = lambda: True, **env: str) -> Program:
    return Program(["sh", "-c", shell], environment(**env), ready)


def test_close_ends_the_server_and_its_daemons_and_removes_the_folder() -> None:
    with Supervised("fake") as supervised:
        folder = supervised.folder
        daemon = f"setsid sh -c 'echo up > {folder}/up; exec sleep 600' &"
        supervised.start(
            program(f"{daemon} exec sleep 600", (folder / "up").exists, MARK=str(folder)), PATIENCE
        )
        assert len(processes_of(folder)) >= 2
    assert not folder.exists()
    assert not processes_of(folder)


def test_a_server_that_exits_shows_the_tail_of_its_log() -> None:
    with Supervised("fake") as supervised, pytest.raises(servers.StartFailed) as caught:
        supervised.start(program("echo no such disk; exit 3", lambda: False), PATIENCE)
    assert "fake exited with 3" in str(caught.value)
    assert "no such disk" in str(caught.value)


def test_a_server_that_is_never_ready_shows_the_tail_of_its_log() -> None:
    with (
        Supervised("fake") as supervised,
        pytest.raises(servers.StartFailed, match=r"(?s)not ready.*waiting"),
    ):
        supervised.start(program("echo waiting; exec sleep 600", lambda: False), 0.5)


def test_a_command_that_is_missing_is_named() -> None:
    with Supervised("fake") as supervised, pytest.raises(servers.StartFailed, match="no-such-server"):
        supervised.start(Program(["no-such-server"], environment(), lambda: True), PATIENCE)


def test_kill_keeps_the_folder_and_start_runs_it_again() -> None:
    with Supervised("fake") as supervised:
        count = supervised.folder / "count"
        counting = program(f"echo x >> {count}; exec sleep 600", count.exists)
        supervised.start(counting, PATIENCE)
        supervised.start(counting, PATIENCE)  # it runs: nothing to do
        supervised.kill()
        supervised.start(counting, PATIENCE)
        assert eventually(lambda: count.read_text() == "x\nx\n")


def test_stop_lets_the_server_end_by_itself_even_when_suspended() -> None:
    with Supervised("fake") as supervised:
        up, ended = supervised.folder / "up", supervised.folder / "ended"
        polite = f"trap 'touch {ended}; exit 0' TERM; touch {up}; while :; do sleep 0.05; done"
        supervised.start(program(polite, up.exists), PATIENCE)
        supervised.signal(signal.SIGSTOP)
        supervised.stop()
        assert ended.exists()


OWNER = """
import os, sys, time
from tools.servers.process import Program, Supervised, environment
supervised = Supervised("fake")
supervised.start(Program(["sleep", "600"], environment(), lambda: True), 10)
if os.fork():  # the child holds the socket open when the owner is killed
    print(supervised.folder, flush=True)
time.sleep(600)
"""


def test_a_killed_owner_leaves_nothing_even_while_a_fork_of_it_lives(tmp_path: Path) -> None:
    env = environment(TMPDIR=str(tmp_path))
    forking = [sys.executable, "-c", OWNER]
    with subprocess.Popen(
        forking, cwd=ROOT, env=env, stdout=subprocess.PIPE, start_new_session=True, text=True
    ) as owner:
        assert owner.stdout is not None
        folder = Path(owner.stdout.readline().strip())
        assert folder.is_dir()
        owner.kill()
        owner.wait()
        assert eventually(lambda: not folder.exists())
        os.killpg(owner.pid, signal.SIGKILL)
    assert eventually(lambda: not processes_of(tmp_path))


# The cache and what fills it


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.usefixtures("home")
def test_the_cache_is_filled_once_by_many() -> None:
    fills: list[Path] = []

    def fill(folder: Path) -> None:
        fills.append(folder)
        time.sleep(0.1)
        (folder / "jar").touch()

    threads = [threading.Thread(target=cache.cached, args=("thing", fill)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(fills) == 1
    assert (cache.cached("thing", fill) / "jar").exists()


@pytest.mark.usefixtures("home")
def test_a_failed_fill_leaves_nothing_and_is_tried_again() -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise servers.Unavailable("no network")

    left_over = cache.root() / "thing.part-of-a-crash"
    left_over.mkdir(parents=True)
    with pytest.raises(servers.Unavailable, match="no network"):
        cache.cached("thing", fail)
    assert [path.name for path in cache.root().iterdir()] == ["thing.lock"]
    assert list(cache.cached("thing", lambda _: None).iterdir()) == []


@pytest.mark.parametrize(
    ("version", "good"), [("17.0.15", True), ("25", True), ("11.0.2", False), ("1.8.0", False)]
)
def test_java_must_be_new_enough(
    home: Path, monkeypatch: pytest.MonkeyPatch, version: str, good: bool
) -> None:
    own = script(home / "jdk/bin/java", f"echo 'openjdk version \"{version}\" 2025-04-15' >&2")
    monkeypatch.setenv("JAVA_HOME", str(home / "jdk"))
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "executable", "/no/python")
    if good:
        assert java.find_java() == own
        return
    with pytest.raises(servers.Unavailable, match="install Java 17 or newer"):
        java.find_java()


@pytest.mark.usefixtures("home")
def test_what_to_install_is_said_where_nothing_can_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(servers.Unavailable, match="install Maven"):
        maven.jars("kafka", "a:b:1")
    with pytest.raises(servers.Unavailable, match="install rabbitmq-server"):
        debian.unpacked("rabbitmq-server", lambda _: None)


def test_only_packages_that_the_machine_lacks_are_fetched(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = "Inst libc6 [2.36-9] (2.36-10 Debian [amd64])\\nInst erlang-base (1:25.2 Debian [amd64])\\nConf x"
    apt = f'case "$*" in *simulate*) printf "{plan}\\n";; *download*) echo "$@" > {home}/downloaded;; esac'
    script(home / "bin/apt-get", apt)
    script(home / "bin/dpkg", "true")
    monkeypatch.setenv("PATH", f"{home / 'bin'}:/usr/bin:/bin")
    relocated: list[Path] = []
    folder = debian.unpacked("rabbitmq-server", relocated.append)
    assert (home / "downloaded").read_text().split("download ")[1] == "erlang-base\n"
    assert relocated[0].name.startswith(folder.name)


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("\033[0mINFO\n[ERROR] no such host -> [Help 1]\n[ERROR] see", "[ERROR] no such host -> [Help 1]"),
        ("W: slow\nE: Unable to locate package x\nE: more", "E: Unable to locate package x"),
        ("first\nlast", "last"),
        ("", "no output"),
    ],
)
def test_a_failed_tool_is_quoted_by_its_error_line(tmp_path: Path, output: str, reason: str) -> None:
    tool = script(tmp_path / "tool", f"cat {tmp_path}/output; exit 4")
    (tmp_path / "output").write_text(output)
    with pytest.raises(servers.Unavailable) as caught:
        command.run([str(tool)])
    assert str(caught.value) == f"`{tool} ...` exited with 4: {reason}"


# Servers that are not ours


def test_a_server_given_by_url_is_used_and_never_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(servers.KAFKA_URL, "kafka://broker.example:9092")
    with servers.kafka() as server:
        assert server.url == "kafka://broker.example:9092"
        assert not server.controllable
        for act in (server.kill, server.start, server.stop, server.suspend, server.resume):
            with pytest.raises(servers.NotOurs, match=servers.KAFKA_URL):
                act()


def test_docker_runs_compose_and_takes_everything_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = tmp_path / "calls"
    script(tmp_path / "bin/docker", f'echo "$@" >> {calls}; case "$*" in *up*) exec sleep 600;; esac')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.delenv("EVENTWIRE_NO_DOCKER", raising=False)
    monkeypatch.delenv(servers.AMQP_URL, raising=False)
    monkeypatch.setitem(docker.READY, "rabbitmq", lambda _port: " up " in calls.read_text())
    with servers.rabbitmq() as server, pytest.raises(servers.NotOurs, match="Docker"):
        server.kill()
    made = calls.read_text().splitlines()
    assert made[:2] == ["info", "compose version"]
    assert made[2].endswith("up --no-color rabbitmq")
    assert made[3].endswith("down --volumes --timeout 1")
    assert made[2].split(" up ")[0] == made[3].split(" down ")[0]


def test_docker_runs_the_same_kafka() -> None:
    assert f"image: apache/kafka:{kafka_node.VERSION}\n" in docker.COMPOSE_FILE.read_text()


def test_docker_can_be_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENTWIRE_NO_DOCKER", "1")
    assert not docker.answers()


# The command line


def test_run_gives_the_urls_and_keeps_the_exit_code() -> None:
    given = {servers.KAFKA_URL: "kafka://a:1", servers.AMQP_URL: "amqp://b:2"}
    show = f'echo "${servers.KAFKA_URL} ${servers.AMQP_URL}"; exit 7'
    with command_line("run", "kafka", "amqp", "--", "sh", "-c", show, **given) as running:
        out, _ = running.communicate(timeout=PATIENCE)
    assert (running.returncode, out) == (7, "kafka://a:1 amqp://b:2\n")


def test_run_says_not_run_with_the_reason_and_runs_the_command_anyway(tmp_path: Path) -> None:
    lonely = {"PATH": "", "XDG_CACHE_HOME": str(tmp_path), "JAVA_HOME": ""}
    script(tmp_path / "show", 'echo "$EVENTWIRE_TEST_KAFKA_NOT_RUN"')
    with command_line("run", "kafka", "--", str(tmp_path / "show"), **lonely) as running:
        out, err = running.communicate(timeout=60)
    assert running.returncode == 0
    assert out.startswith("install ")
    assert err == f"NOT RUN kafka: {out}"


@pytest.mark.parametrize(
    "arguments", [["run", "kafka"], ["serve", "--", "true"], ["serve", "mqtt"], ["dance"]]
)
def test_a_wrong_command_line_is_refused(arguments: list[str]) -> None:
    with command_line(*arguments) as running:
        _, err = running.communicate(timeout=PATIENCE)
    assert running.returncode == 2
    assert "usage:" in err


# Real servers

Client = TypeVar("Client", AIOKafkaProducer, AIOKafkaConsumer)


@pytest.fixture(scope="module")
def kafka() -> Iterator[servers.Server]:
    yield from opened(servers.kafka(private=True))


@pytest.fixture(scope="module")
def rabbitmq() -> Iterator[servers.Server]:
    yield from opened(servers.rabbitmq(private=True))


def opened(server: contextlib.AbstractContextManager[servers.Server]) -> Iterator[servers.Server]:
    with contextlib.ExitStack() as stack:
        try:
            entered = stack.enter_context(server)
        except servers.Unavailable as error:
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(f"NOT RUN: {error}")
        yield entered


@pytest.fixture(scope="module")
def postgres() -> Iterator[servers.Server]:
    yield from opened(servers.postgres(private=True))


@pytest.fixture(scope="module")
def redis_server() -> Iterator[servers.Server]:
    yield from opened(servers.redis(private=True))


@contextlib.asynccontextmanager
async def started(client: Client) -> AsyncGenerator[Client]:
    await client.start()
    try:
        yield client
    finally:
        await client.stop()


@pytest.mark.server
async def test_kafka_keeps_its_data_when_killed_and_started_again(kafka: servers.Server) -> None:
    address = kafka.url.removeprefix("kafka://")
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    await admin.create_topics([NewTopic("kept", num_partitions=1, replication_factor=1)])
    await admin.close()
    async with started(AIOKafkaProducer(bootstrap_servers=address, enable_idempotence=True)) as producer:
        await producer.send_and_wait("kept", b"before")
    kafka.kill()
    assert not attempt(lambda: kafka_ready(int(address.split(":")[1])))
    kafka.start()
    settings = {"bootstrap_servers": address, "group_id": "g", "auto_offset_reset": "earliest"}
    async with started(AIOKafkaConsumer("kept", **settings)) as consumer:
        batches = await consumer.getmany(timeout_ms=int(PATIENCE * 1000))
    assert [record.value for records in batches.values() for record in records] == [b"before"]


@pytest.mark.server
def test_a_suspended_kafka_does_not_answer_until_it_is_resumed(kafka: servers.Server) -> None:
    port = int(kafka.url.rsplit(":", 1)[1])
    kafka.suspend()
    assert not attempt(lambda: kafka_ready(port))
    kafka.resume()
    assert eventually(lambda: attempt(lambda: kafka_ready(port)))


@pytest.mark.server
@pytest.mark.parametrize(("kind", "end"), [("classic", "kill"), ("quorum", "stop")])
async def test_rabbitmq_keeps_durable_messages(rabbitmq: servers.Server, kind: str, end: str) -> None:
    arguments: dict[str, FieldValue] = {"x-queue-type": kind}
    async with await aio_pika.connect(rabbitmq.url) as connection:
        channel = await connection.channel(on_return_raises=True)
        await channel.declare_queue(kind, durable=True, arguments=arguments)
        message = aio_pika.Message(b"before", delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(message, routing_key=kind)
    getattr(rabbitmq, end)()
    assert not attempt(lambda: amqp_ready(int(rabbitmq.url.strip("/").rsplit(":", 1)[1])))
    rabbitmq.start()
    async with await aio_pika.connect(rabbitmq.url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(kind, durable=True, arguments=arguments)
        assert (await queue.get()).body == b"before"


def connected(server: servers.Server) -> psycopg.Connection[tuple[int]]:
    url = server.url.replace("+psycopg", "")
    return psycopg.connect(url, autocommit=True, row_factory=tuple_row, connect_timeout=int(PATIENCE))


@pytest.mark.server
def test_postgres_keeps_what_was_committed_when_killed_and_started_again(postgres: servers.Server) -> None:
    with connected(postgres) as connection:
        connection.execute("CREATE TABLE kept (n int)")
        connection.execute("INSERT INTO kept VALUES (7)")
    postgres.kill()
    assert not attempt(lambda: postgres_ready(int(postgres.url.rsplit(":", 1)[1].split("/")[0])))
    postgres.start()
    with connected(postgres) as connection:
        assert connection.execute("SELECT n FROM kept").fetchall() == [(7,)]


@pytest.mark.server
def test_connections_to_a_suspended_postgres_stand_still_until_it_is_resumed(
    postgres: servers.Server,
) -> None:
    with connected(postgres) as connection, ThreadPoolExecutor(1) as pool:
        postgres.suspend()
        answer = pool.submit(lambda: connection.execute("SELECT 7").fetchall())
        with pytest.raises(TimeoutError):
            answer.result(timeout=0.5)
        postgres.resume()
        assert answer.result(timeout=PATIENCE) == [(7,)]


@pytest.mark.server
def test_redis_keeps_what_it_has_answered(redis_server: servers.Server) -> None:
    host, _, port = redis_server.url.removeprefix("redis://").removesuffix("/0").partition(":")
    with redis.Redis(host, int(port)) as client:
        assert client.set("kept", "7")
    redis_server.kill()
    redis_server.start()
    with redis.Redis(host, int(port)) as client:
        assert client.get("kept") == b"7"


@pytest.mark.server
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_process_and_no_folder_outlives_the_command_line(tmp_path: Path, number: signal.Signals) -> None:
    with command_line(TMPDIR=str(tmp_path)) as running:
        assert running.stderr is not None
        assert "Ctrl-C" in running.stderr.readline()
        assert len(list(tmp_path.glob("eventwire-*"))) == 4
        assert len(processes_of(tmp_path)) > 4
        os.kill(running.pid, number)
        running.communicate(timeout=PATIENCE)
    assert running.returncode == (-number if number == signal.SIGKILL else 0)
    assert eventually(lambda: not list(tmp_path.glob("eventwire-*")))
    assert eventually(lambda: not processes_of(tmp_path))
