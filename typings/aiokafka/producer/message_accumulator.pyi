class BatchBuilder:
    def append(
        self,
        *,
        timestamp: int | None,
        key: bytes | None,
        value: bytes | None,
        headers: list[tuple[str, bytes]] = ...,
    ) -> object | None: ...
    def record_count(self) -> int: ...

class MessageAccumulator:
    def fail_all(self, exception: Exception) -> None: ...
