from collections.abc import Sequence

class OffsetRequest:
    def __init__(
        self,
        replica_id: int,
        isolation_level: int,
        topics: Sequence[tuple[str, Sequence[tuple[int, int]]]],
    ) -> None: ...
