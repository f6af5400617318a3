"""Concurrent actors in a simulation: the same seed gives the same run."""

from __future__ import annotations

import asyncio
import random
import threading
import time
import uuid

import pytest

import rsim
from rsim.sim import Faults


@rsim.remote(max_restarts=-1, max_task_retries=-1)
class Waiter:
    async def draw(self, seconds):
        await asyncio.sleep(seconds)
        first = random.random()
        await asyncio.sleep(seconds)
        return first, random.random(), uuid.uuid4().hex

    async def relay(self, value):
        return await double.remote(await double.remote(value))


@rsim.remote(max_concurrency=3, max_restarts=-1, max_task_retries=-1)
class Crew:
    def draw(self, seconds):
        time.sleep(seconds)
        first = random.random()
        time.sleep(seconds)
        return first, random.random(), uuid.uuid4().hex

    def relay(self, value):
        return rsim.get(double.remote(rsim.get(double.remote(value))))


@rsim.remote
def double(value):
    time.sleep(0.001)
    return 2 * value


def run(actor_class, seed, **options):
    with rsim.init("sim", cluster=rsim.sim.Cluster(2), seed=seed, **options) as session:
        actor = actor_class.remote()
        drawn = [actor.draw.remote(0.001 * (number % 3)) for number in range(6)]
        relayed = [actor.relay.remote(number) for number in range(6)]
        values = rsim.get(drawn), rsim.get(relayed)
        return values, session.digest(), session.now()


@pytest.mark.parametrize("actor_class", [Waiter, Crew])
@pytest.mark.parametrize("faults", [None, Faults(kill_worker=0.1)])
@pytest.mark.parametrize("seed", [None, 0, 1, 2])
def test_equal_seeds_give_equal_runs(actor_class, seed, faults):
    first = run(actor_class, seed, faults=faults)
    assert run(actor_class, seed, faults=faults) == first
    assert first[0][1] == [4 * number for number in range(6)]


@pytest.mark.parametrize("actor_class", [Waiter, Crew])
def test_what_a_call_draws_does_not_depend_on_the_others(actor_class):
    """Nor on the schedule."""

    def draws(order):
        with rsim.init("sim", seed=0):
            actor = actor_class.remote()
            refs = [actor.draw.remote(0.001 * place) for place in order]
            return rsim.get(refs)

    assert len({first for first, _, _ in draws([0, 1, 2])}) == 3
    assert draws([0, 1, 2]) == draws([2, 1, 0])


def test_calls_of_one_actor_wait_in_virtual_time_together():
    for actor_class, calls in ((Waiter, 100), (Crew, 3)):
        with rsim.init("sim") as session:
            actor = actor_class.remote()
            rsim.get(actor.relay.remote(0))
            before = session.now()
            rsim.get([actor.draw.remote(500) for _ in range(calls)])
            assert 1000 <= session.now() - before < 1001
    assert threading.active_count() < 100


def test_a_call_that_waits_for_ever_is_a_deadlock():
    @rsim.remote
    class Stuck:
        async def wait(self):
            await asyncio.Event().wait()

    with rsim.init("sim"), pytest.raises(rsim.exceptions.DeadlockError):
        rsim.get(Stuck.remote().wait.remote())
