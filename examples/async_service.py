"""A service that looks words up: a queue, handlers that await, and an asynchronous actor.

    python examples/async_service.py                     # on this machine
    RSIM_ADDRESS=sim python examples/async_service.py    # in a simulated cluster

Nothing piles up: the queue holds four requests, so a client that asks faster waits; eight handlers
share one event loop; and the service looks six words up at a time, as its concurrency group says.
"""

import asyncio

import rsim
from rsim.util.queue import Queue

REQUESTS, HANDLERS = 40, 8


@rsim.remote(concurrency_groups={"slow": 6})
class Service:
    def __init__(self) -> None:
        self.busy = self.most_busy = 0

    @rsim.method(concurrency_group="slow")
    async def look_up(self, word: str) -> str:
        self.busy += 1  # all calls run on one loop: between two awaits nobody interferes
        self.most_busy = max(self.most_busy, self.busy)
        await asyncio.sleep(0.05)  # a database, say
        self.busy -= 1
        return word.upper()

    async def peak(self) -> int:  # in no group: answered while look-ups wait
        return self.most_busy


@rsim.remote
def ask(requests: Queue) -> None:
    """A client, somewhere in the cluster; it waits while the queue is full."""
    for word in [f"word {number}" for number in range(REQUESTS)] + [None] * HANDLERS:
        requests.put(word)


async def handle(requests: Queue, service: rsim.ActorHandle, answers: dict[str, str]) -> None:
    while (word := await requests.get_async()) is not None:
        answers[word] = await service.look_up.remote(word)  # a ref can be awaited


async def main() -> tuple[dict[str, str], int]:
    """The answers by word, and how many words were looked up at a time."""
    requests, service, answers = Queue(maxsize=4), Service.remote(), {}
    client = ask.remote(requests)
    await asyncio.gather(client, *[handle(requests, service, answers) for _ in range(HANDLERS)])
    return answers, await service.peak.remote()


if __name__ == "__main__":
    with rsim.init():  # before the loop: in a simulation, its time is virtual, too
        answers, peak = asyncio.run(main())
    print(f"{len(answers)} answers, {peak} at a time; 'word 0' is {answers['word 0']!r}")
