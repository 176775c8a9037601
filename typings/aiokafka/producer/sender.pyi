from asyncio import Task

class Sender:
    @property
    def sender_task(self) -> Task[None] | None: ...
