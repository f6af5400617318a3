"""Async and threaded actors, awaited refs and futures."""

import asyncio

import ray


@ray.remote
class Waits:
    def __init__(self):
        self.event = asyncio.Event()
        self.seen = 0

    async def wait(self):
        self.seen += 1
        await self.event.wait()
        return self.seen

    async def set(self):
        self.event.set()


ray.init(num_cpus=2)
actor = Waits.remote()
waiting = [actor.wait.remote() for _ in range(5)]
ray.get(actor.set.remote())
print(ray.get(waiting))


@ray.remote
def f(x):
    return x + 1


async def main():
    print(await f.remote(1), await asyncio.gather(f.remote(2), f.remote(3)))


asyncio.run(main())
print(f.remote(4).future().result())


@ray.remote(max_concurrency=2)
class Threads:
    def __init__(self):
        import threading

        self.barrier = threading.Barrier(2)

    def meet(self):
        self.barrier.wait()
        return True


threads = Threads.remote()
print(ray.get([threads.meet.remote(), threads.meet.remote()]))
