"""Readiness: one real exchange in the server's own protocol. An accepted connection proves nothing."""

import socket
import struct

TIMEOUT = 2.0


def kafka_ready(port: int) -> bool:
    """Whether a Metadata v1 request is answered with a registered, unfenced broker.

    Protocol guide, "Metadata API": request header v1 (api key 3, version 1, correlation id, null client id)
    and an empty array of topics; the answer is the correlation id and the array of brokers.
    """
    request = struct.pack(">hhihi", 3, 1, 1, -1, 0)
    with socket.create_connection(("127.0.0.1", port), TIMEOUT) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        head = _read(connection, 12)
    _, correlation, brokers = struct.unpack(">iii", head)
    return bool(correlation == 1 and brokers > 0)


def amqp_ready(port: int) -> bool:
    """Whether the protocol header is answered with Connection.Start (AMQP 0-9-1, sections 4.2.2, 1.4.2.1)."""
    with socket.create_connection(("127.0.0.1", port), TIMEOUT) as connection:
        connection.sendall(b"AMQP\x00\x00\x09\x01")
        frame = _read(connection, 11)
    kind, channel, _, class_id, method_id = struct.unpack(">BHIHH", frame)
    return (kind, channel, class_id, method_id) == (1, 0, 10, 10)


def postgres_ready(port: int) -> bool:
    """Whether a StartupMessage is answered with Authentication ("Message Formats"); a server that starts says Error."""
    text = b"user\0postgres\0database\0postgres\0\0"
    with socket.create_connection(("127.0.0.1", port), TIMEOUT) as connection:
        connection.sendall(struct.pack(">ii", 8 + len(text), 3 << 16) + text)
        return _read(connection, 1) == b"R"


def redis_ready(port: int) -> bool:
    """Whether PING is answered with PONG; a server that loads its data answers with an error."""
    with socket.create_connection(("127.0.0.1", port), TIMEOUT) as connection:
        connection.sendall(b"PING\r\n")
        return _read(connection, 5) == b"+PONG"


def _read(connection: socket.socket, size: int) -> bytes:
    """Exactly so many bytes; ConnectionError when the other side closes before."""
    data = b""
    while len(data) < size:
        chunk = connection.recv(size - len(data))
        if not chunk:
            raise ConnectionError("closed before the answer was complete")
        data += chunk
    return data
