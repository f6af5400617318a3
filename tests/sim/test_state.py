"""What a simulated cluster of several nodes tells of itself, under deaths and delays."""

import time
from typing import Any

import pytest

import rsim
from rsim.sim import Cluster, Node
from rsim.util import state
from rsim.util.scheduling_strategies import NodeAffinitySchedulingStrategy


@rsim.remote
def nap(seconds: float) -> str:
    time.sleep(seconds)
    return rsim.get_runtime_context().get_node_id()


@rsim.remote
class Keeper:
    def where(self) -> str:
        return rsim.get_runtime_context().get_node_id()


def on(name: str) -> Any:
    return NodeAffinitySchedulingStrategy(name)


def start(nodes: int = 3, **options: Any) -> Any:
    return rsim.init("sim", cluster=Cluster(nodes, num_cpus=2), **options)


def test_resources_are_summed_over_the_nodes() -> None:
    with rsim.init("sim", cluster=[Node("a", num_cpus=1), Node("b", resources={"slot": 2})]):
        assert [node["NodeID"] for node in rsim.nodes()] == ["a", "b"]
        total = rsim.cluster_resources()
        assert (total["CPU"], total["slot"], total["node:a"], total["node:b"]) == (5, 2, 1, 1)
        assert [node.is_head_node for node in state.list_nodes()] == [True, False]


def test_where_tasks_run_elsewhere() -> None:
    with start():
        ref = nap.options(scheduling_strategy=on("n2")).remote(1.0)
        time.sleep(0.5)  # user program
        task: Any = state.get_task(ref)
        assert (task.state, task.node_id) == ("RUNNING", "n2")
        assert task.worker_id.startswith("n2.w") and task.worker_pid
        assert rsim.get(ref) == "n2"
        task = state.get_task(ref)
        assert (task.state, task.node_id) == ("FINISHED", "n2")
        assert task.end_time_ms - task.start_time_ms == 1000
        (span,) = rsim.timeline() or ()
        assert (span["pid"], span["dur"]) == ("n2", 1e6)


def test_every_node_sees_the_same() -> None:
    with start():
        rsim.get([nap.options(scheduling_strategy=on(f"n{n}")).remote(0.1) for n in range(3)])
        here = (rsim.nodes(), [task.asdict() for task in state.list_tasks()])

        @rsim.remote(num_cpus=0)
        def look() -> Any:
            tasks = state.list_tasks(filters=[("name", "=", "nap")])
            return rsim.nodes(), [task.asdict() for task in tasks]

        assert rsim.get(look.options(scheduling_strategy=on("n1")).remote()) == here


def test_an_actor_on_another_node() -> None:
    with start():
        keeper = Keeper.options(scheduling_strategy=on("n1")).remote()
        assert rsim.get(keeper.where.remote()) == "n1"
        (actor,) = state.list_actors()
        assert (actor.state, actor.node_id) == ("ALIVE", "n1") and actor.pid
        (call,) = state.list_tasks(filters=[("type", "=", "ACTOR_TASK")])
        assert (call.name, call.node_id) == ("Keeper.where", "n1")


def test_dead_nodes_are_told_of() -> None:
    with start() as session:
        lost = nap.options(scheduling_strategy=on("n1"), max_retries=0).remote(10)
        time.sleep(1)  # user program
        session.kill_node("n1")
        with pytest.raises(rsim.exceptions.RsimError):
            rsim.get(lost)
        alive = {node["NodeID"]: node["Alive"] for node in rsim.nodes()}
        assert alive == {"n0": True, "n1": False, "n2": True}
        assert rsim.nodes()[1]["Resources"] == {} and rsim.cluster_resources()["CPU"] == 4
        dead = state.get_node("n1")
        assert dead is not None and dead.state == "DEAD" and dead.end_time_ms
        task: Any = state.get_task(lost)
        assert (task.state, task.error_type, task.node_id) == ("FAILED", "NODE_DIED", "n1")


def test_a_question_to_a_node_that_has_just_died_is_answered() -> None:
    with start() as session:
        session.kill_node("n1")
        before = session.now()
        assert [node["Alive"] for node in rsim.nodes()] == [True, False, True]
        assert session.now() - before == pytest.approx(0.5)


def test_a_question_can_take_too_long() -> None:
    with start() as session:
        session.kill_node("n1")
        with pytest.raises(TimeoutError, match=r"within 0.1 s .* of n1"):
            state.list_nodes(timeout=0.1)
        nodes = state.list_nodes(timeout=0.1, raise_on_missing_output=False)
        assert [node.node_id for node in nodes] == ["n0", "n2"]


def test_asking_takes_a_round_trip() -> None:
    with rsim.init("sim", cluster=Cluster(2, latency_s=0.25)) as session:
        rsim.nodes()
        assert session.now() == pytest.approx(0.5)


def test_asking_in_one_node_takes_no_time() -> None:
    with start(1) as session:
        rsim.nodes()
        rsim.get_runtime_context().get_node_labels()
        assert session.now() == 0


def program(seed: int) -> tuple[str, Any]:
    with start(seed=seed) as session:
        refs = [nap.remote(0.1) for _ in range(5)]
        seen = [[task.asdict() for task in state.list_tasks(detail=True)] for _ in range(3)]
        rsim.get(refs)
        return session.digest(), (seen, rsim.timeline(), state.list_workers(), state.list_objects())


def test_equal_runs_are_told_equally() -> None:
    assert program(7) == program(7)


@rsim.remote
class Reflective:
    def __init__(self) -> None:
        self.me: Any = rsim.get_runtime_context().current_actor
        self.first = self.me.where.remote()

    def where(self) -> str:
        return rsim.get_runtime_context().get_node_id()

    def handle(self) -> Any:
        return self.me

    def asked(self) -> Any:
        return [self.first, self.me.where.remote(), ask.remote([self.me])]


@rsim.remote
def ask(handles: list[Any]) -> str:
    found: str = rsim.get(handles[0].where.remote())
    return found


@pytest.mark.parametrize("seed", range(5))
def test_an_actor_far_from_its_owner_refers_to_itself(seed: int) -> None:
    with start(seed=seed):
        actor = Reflective.options(scheduling_strategy=on("n1")).remote()
        assert rsim.get(rsim.get(actor.asked.remote())) == ["n1"] * 3
        mine = rsim.get(actor.handle.remote())
        del actor
        time.sleep(1)  # user program
        assert rsim.get(mine.where.remote()) == "n1"
        del mine
        rsim.get(nap.remote(1))
        assert [each.state for each in state.list_actors()] == ["DEAD"]
