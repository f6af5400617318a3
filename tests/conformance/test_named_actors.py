"""Actors with names: created, found, listed, and gone."""

import os
import time

import pytest

import rsim
from rsim.exceptions import (
    ActorAlreadyExistsError,
    ActorDiedError,
    ActorHandleNotFoundError,
    RsimError,
    TaskCancelledError,
)
from tests.conformance import marks
from tests.polling import holds_in_time


@rsim.remote
class Counter:
    """Counts."""

    def __init__(self, start=0):
        if start is None:
            raise ValueError("no start")
        self.total = start

    def add(self, amount=1):
        self.total += amount
        return self.total

    @rsim.method(num_returns=2)
    def pair(self):
        return self.total, -self.total

    def leave(self):
        rsim.actor.exit_actor()

    def die(self):
        os._exit(3)


def exists(name, namespace=None):
    try:
        rsim.get_actor(name, namespace)
    except ValueError:
        return False
    return True


def is_dead(handle):
    with pytest.raises(ActorDiedError):
        rsim.get(handle.add.remote())
    return True


# -- created and found -----------------------------------------------------------------------------


def test_found_by_its_name(rt):
    counter = Counter.options(name="counter").remote(5)
    found = rsim.get_actor("counter")
    assert found == counter
    assert rsim.get(found.add.remote()) == 6
    assert rsim.get(found.pair.remote()) == [6, -6]
    with pytest.raises(AttributeError, match="Counter has no method 'sub'"):
        found.sub  # noqa: B018


def test_the_name_may_be_among_the_options_of_the_class(rt):
    @rsim.remote(name="single", max_restarts=1)
    class Single:
        def who(self):
            return "single"

    single = Single.remote()
    assert rsim.get(rsim.get_actor("single").who.remote()) == "single"
    with pytest.raises(ActorAlreadyExistsError):
        Single.remote()
    del single


def test_tasks_and_actors_find_it(rt):
    @rsim.remote
    def add(name):
        return rsim.get(rsim.get_actor(name).add.remote())

    @rsim.remote
    class Caller:
        def add(self, name):
            return rsim.get(rsim.get_actor(name).add.remote())

    counter = Counter.options(name="counter").remote()
    caller = Caller.remote()
    refs = [add.remote("counter"), caller.add.remote("counter"), add.remote("counter")]
    assert sorted(rsim.get(refs)) == [1, 2, 3]
    assert rsim.get(counter.add.remote(0)) == 3


def test_created_in_a_task_and_found_by_the_driver(rt):
    @rsim.remote
    def create(name):
        return Counter.options(name=name).remote(7)

    handle = rsim.get(create.remote("made"))
    assert rsim.get_actor("made") == handle
    assert rsim.get(rsim.get_actor("made").add.remote()) == 8


def test_a_name_is_taken_until_its_actor_is_gone(rt):
    counter = Counter.options(name="x").remote()
    with pytest.raises(ActorAlreadyExistsError, match=r"'x' .* is already taken") as caught:
        Counter.options(name="x").remote()
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, RsimError)
    rsim.kill(counter)
    assert not exists("x")
    assert rsim.get(Counter.options(name="x").remote(10).add.remote()) == 11


def test_get_if_exists(rt):
    shared = Counter.options(name="shared", get_if_exists=True)
    first = shared.remote(10)
    second = shared.remote(99)
    assert first == second
    assert rsim.get([first.add.remote(), second.add.remote()]) == [11, 12]
    rsim.kill(first)
    assert rsim.get(shared.remote(20).add.remote()) == 21


def test_many_who_want_the_same_get_the_same(rt):
    @rsim.remote
    def add(name):
        counter = Counter.options(name=name, get_if_exists=True).remote()
        return counter, rsim.get(counter.add.remote())

    found = rsim.get([add.remote("shared") for _ in range(12)])
    assert sorted(total for _, total in found) == list(range(1, 13))
    assert len({handle for handle, _ in found}) == 1


def test_one_of_many_gets_the_name(rt):
    @rsim.remote
    def create(name):
        try:
            return Counter.options(name=name).remote()
        except ActorAlreadyExistsError:
            return None

    handles = rsim.get([create.remote("once") for _ in range(8)])
    assert len([handle for handle in handles if handle is not None]) == 1


# -- namespaces ------------------------------------------------------------------------------------


def test_a_namespace_has_its_own_names(init):
    init(num_cpus=2, namespace="home")
    here = Counter.options(name="x").remote(1)
    there = Counter.options(name="x", namespace="away").remote(2)
    assert rsim.get_actor("x") == rsim.get_actor("x", "home") == here
    assert rsim.get_actor("x", namespace="away") == there
    assert not exists("x", "nowhere")
    assert rsim.util.list_named_actors() == ["x"]
    assert rsim.util.list_named_actors(all_namespaces=True) == [
        {"name": "x", "namespace": "home"},
        {"name": "x", "namespace": "away"},
    ]


def test_tasks_are_in_the_drivers_namespace(init):
    init(num_cpus=2, namespace="home")

    @rsim.remote
    def look():
        return rsim.get_actor("x"), rsim.util.list_named_actors()

    counter = Counter.options(name="x", namespace="home").remote()
    assert rsim.get(look.remote()) == (counter, ["x"])


def test_without_one_the_session_has_its_own(rt):
    counter = Counter.options(name="x").remote()
    (listed,) = rsim.util.list_named_actors(True)
    assert listed == {"name": "x", "namespace": rt["namespace"]}
    assert listed["namespace"].startswith("anonymous")
    assert rsim.get_actor("x", listed["namespace"]) == counter


# -- lifetimes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("lifetime", [None, "non_detached"])
def test_it_ends_with_its_last_handle(rt, lifetime):
    counter = Counter.options(name="x", lifetime=lifetime).remote()
    found = rsim.get_actor("x")
    del counter
    assert rsim.get(found.add.remote()) == 1
    del found
    assert holds_in_time(lambda: not exists("x"))
    assert rsim.util.list_named_actors() == []


def test_a_detached_one_lives_without_handles(rt, tmp_path):
    @rsim.remote
    def create():
        Counter.options(name="service", lifetime="detached").remote(100)

    rsim.get(create.remote())
    for total in (101, 102):
        assert rsim.get(rsim.get_actor("service").add.remote()) == total
    assert rsim.util.list_named_actors() == ["service"]
    rsim.kill(rsim.get_actor("service"))
    assert not exists("service")
    again = Counter.options(name="service", lifetime="detached").remote()
    assert rsim.get(again.add.remote()) == 1


def test_a_detached_one_needs_no_name(rt, tmp_path):
    @rsim.remote
    class Marker:
        def leave(self, folder, name):
            marks.leave(folder, name)

    Marker.options(lifetime="detached").remote().leave.remote(tmp_path, "here")
    marks.await_marks(tmp_path, "here")


def test_a_restarted_one_keeps_its_name(rt):
    options = {"name": "x", "max_restarts": 1, "max_task_retries": 0}
    counter = Counter.options(**options).remote(5)
    rsim.get(counter.add.remote())
    lost = counter.die.remote()
    rsim.wait([lost])
    assert rsim.get_actor("x") == counter
    assert rsim.get(rsim.get_actor("x").add.options(max_task_retries=-1).remote()) == 6
    rsim.wait([counter.die.remote()])
    assert is_dead(counter)
    assert not exists("x")


def test_kill_without_no_restart_keeps_the_name(rt):
    counter = Counter.options(name="x", max_restarts=-1, max_task_retries=-1).remote(5)
    rsim.get(counter.add.remote())
    rsim.kill(counter, no_restart=False)
    assert rsim.get(rsim.get_actor("x").add.remote()) == 6


def test_one_that_leaves_gives_its_name_back(rt):
    counter = Counter.options(name="x", max_restarts=-1).remote()
    with pytest.raises(ActorDiedError, match="exit_actor"):
        rsim.get(counter.leave.remote())
    assert is_dead(counter)
    assert not exists("x")


def test_a_constructor_that_raises_gives_the_name_back(rt):
    broken = Counter.options(name="x", lifetime="detached").remote(None)
    with pytest.raises(ActorDiedError, match="no start"):
        rsim.get(broken.add.remote())
    assert not exists("x")
    assert rsim.get(Counter.options(name="x").remote(1).add.remote()) == 2


def test_an_argument_that_cannot_be_pickled_gives_the_name_back(rt):
    import threading

    with pytest.raises(TypeError):
        Counter.options(name="x").remote(threading.Lock())
    assert not exists("x")
    assert rsim.util.list_named_actors() == []
    assert Counter.options(name="x").remote() == rsim.get_actor("x")


def test_a_task_that_runs_again_finds_what_it_made(rt, tmp_path):
    @rsim.remote
    def create(folder):
        handle = Counter.options(name="kept", lifetime="detached", get_if_exists=True).remote()
        total = rsim.get(handle.add.remote())
        marks.leave(folder, "ran")
        if marks.count(folder, "ran") == 1:
            os._exit(3)
        return total

    assert rsim.get(create.remote(tmp_path)) == 2


def test_a_worker_that_dies_gives_the_names_of_its_actors_back(rt, tmp_path):
    @rsim.remote(max_retries=0)
    def create():
        handle = Counter.options(name="short").remote()
        rsim.get(handle.add.remote())
        os._exit(3)

    with pytest.raises(RsimError):
        rsim.get(create.remote())
    assert holds_in_time(lambda: not exists("short"))


# -- mistakes --------------------------------------------------------------------------------------


def test_mistakes_are_told_where_they_are_made(rt):
    with pytest.raises(ValueError, match="name cannot be an empty string"):
        Counter.options(name="")
    with pytest.raises(TypeError, match="name must be a str, not 3"):
        Counter.options(name=3)
    with pytest.raises(ValueError, match="namespace cannot be an empty string"):
        Counter.options(name="x", namespace="")
    with pytest.raises(ValueError, match="get_if_exists needs the option name"):
        Counter.options(get_if_exists=True)
    with pytest.raises(TypeError, match="get_if_exists must be True or False"):
        Counter.options(name="x", get_if_exists=1)
    with pytest.raises(ValueError, match="lifetime must be 'detached', 'non_detached' or None"):
        Counter.options(lifetime="eternal")
    with pytest.raises(ValueError, match="actor with name 'nobody'"):
        rsim.get_actor("nobody")
    with pytest.raises(ValueError, match="empty"):
        rsim.get_actor("")
    with pytest.raises(TypeError, match="name must be a str"):
        rsim.get_actor(7)
    with pytest.raises(ValueError, match="namespace cannot be"):
        rsim.get_actor("x", "")
    with pytest.raises(rsim.actor.ActorClassInheritanceException):

        class Derived(Counter):
            pass


def test_a_handle_of_an_earlier_session_is_refused(init):
    init(num_cpus=1)
    counter = Counter.remote()
    rsim.shutdown()
    init(num_cpus=1)
    with pytest.raises(ActorHandleNotFoundError, match="earlier session"):
        rsim.kill(counter)
    with pytest.raises(ActorHandleNotFoundError, match="earlier session"):
        counter.add.remote()


# -- in a simulated cluster ------------------------------------------------------------------------


def test_names_are_those_of_the_whole_cluster():
    nodes = [rsim.sim.Node(num_cpus=1, resources={f"n{number}": 1}) for number in range(3)]

    @rsim.remote
    def create(name):
        Counter.options(name=name, lifetime="detached").remote(10)
        return rsim.get(rsim.get_actor(name).add.remote())

    @rsim.remote
    def look(name):
        return rsim.get(rsim.get_actor(name).add.remote())

    with rsim.init("sim", cluster=rsim.sim.Cluster(nodes)):
        assert rsim.get(create.options(resources={"n1": 1}).remote("x")) == 11
        assert rsim.get(look.options(resources={"n2": 1}).remote("x")) == 12
        counter = rsim.get_actor("x")
        assert rsim.get(counter.add.remote()) == 13
        rsim.kill(counter)
        assert holds_in_time(lambda: not exists("x"))
        assert is_dead(counter)


@pytest.mark.parametrize("pause_s", [0, 30])
def test_an_actor_dies_with_the_node_that_created_it(pause_s):
    nodes = [rsim.sim.Node(num_cpus=1), rsim.sim.Node(num_cpus=1, resources={"there": 1})]

    @rsim.remote(resources={"there": 1})
    def create():
        Counter.options(name="x", lifetime="detached", max_restarts=-1).remote()
        return rsim.get_actor("x")

    with rsim.init("sim", cluster=rsim.sim.Cluster(nodes)) as session:
        counter = rsim.get(create.remote())
        assert rsim.get(counter.add.remote()) == 1
        session.kill_node("n1")
        assert holds_in_time(lambda: not exists("x"))
        time.sleep(pause_s)  # user program, in virtual time: until the actor has an heir
        with pytest.raises(ActorDiedError, match="the node that owned it died"):
            rsim.get(counter.add.remote())
        assert rsim.get(Counter.options(name="x").remote(3).add.remote()) == 4


def contend(seed, faults):
    """Tasks on three nodes that share, kill and recreate actors of two names; the digest."""

    @rsim.remote(max_retries=-1)
    def work(number):
        options = {"max_restarts": -1, "max_task_retries": -1, "get_if_exists": True}
        name = f"actor{number % 2}"
        counter = Counter.options(name=name, **options).remote()
        if number % 5 == 4:
            rsim.kill(counter)
        try:
            return rsim.get(counter.add.remote()) > 0
        except ActorDiedError:
            return False

    cluster = rsim.sim.Cluster(nodes=3, num_cpus=2, jitter_s=1e-3)
    with rsim.init("sim", cluster=cluster, seed=seed, faults=faults) as session:
        spread = work.options(scheduling_strategy="SPREAD")
        answers = rsim.get([spread.remote(number) for number in range(15)])
        rsim.get(work.remote(0))
        assert holds_in_time(lambda: not rsim.util.list_named_actors())
        return answers, session.digest()


@pytest.mark.parametrize("seed", range(20))
def test_whatever_dies_every_question_is_answered(seed):
    faults = rsim.sim.Faults(kill_worker=0.1, kill_node=0.03, max_faults=5)
    answers, digest = contend(seed, faults)
    assert len(answers) == 15
    assert contend(seed, faults) == (answers, digest)


def test_a_task_that_is_cancelled_while_it_asks_for_a_name(tmp_path):
    @rsim.remote
    def create():
        marks.leave(tmp_path, "began")
        Counter.options(name="x").remote()
        marks.leave(tmp_path, "created")

    with rsim.init("sim", cluster=rsim.sim.Cluster(latency_s=1, num_cpus=1)):
        ref = create.remote()
        assert holds_in_time(lambda: rsim.util.list_named_actors() == ["x"])
        rsim.cancel(ref)
        with pytest.raises(TaskCancelledError):
            rsim.get(ref)
        assert (marks.count(tmp_path, "began"), marks.count(tmp_path, "created")) == (1, 0)
        assert holds_in_time(lambda: not rsim.util.list_named_actors())
