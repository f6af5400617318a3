"""What nodes tell of themselves: a bare node, and random clusters under deaths."""

from __future__ import annotations

from typing import Any

import pytest

from rsim.core import effects as fx
from rsim.core import events, facts, history
from rsim.core.choices import FirstChoice
from rsim.core.facts import AnyFact, TaskFact
from rsim.core.ids import child_task_id, driver_task_id, put_id, return_id
from rsim.core.messages import StateAnswer, StateQuery
from rsim.core.node import Node
from rsim.core.records import DRIVER, ActorOptions, ErrorInfo, Result, TaskOptions
from rsim.runtime import state
from tests.core.cluster import CPU, MIB, Cluster
from tests.core.specs import task_spec
from tests.core.test_cluster import run_program

DRIVER_TASK = driver_task_id(0)
KINDS = (facts.TASKS, facts.ACTORS, facts.OBJECTS, facts.WORKERS, facts.NODES)
VALUE = Result(b"value", 5)


class Bench:
    """One node with one CPU and workers that do as they are told."""

    def __init__(self, *others: str) -> None:
        total = (("CPU", 10_000),)
        self.node = Node(
            "n0", total, capacity_bytes=MIB, spill_limit_bytes=None, choices=FirstChoice()
        )
        self.now = 0
        self.ops = 0
        self.node.start(0)
        for name in others:
            self.step(events.NodeJoined(name, total))

    def step(self, event: events.Event) -> list[Any]:
        self.now += 1
        effects = self.node.handle(event, self.now)
        self.node.check()
        for effect in effects:
            if isinstance(effect, fx.StartWorker):
                effects += self.step(events.WorkerStarted(effect.client, 100 + effect.client))
        return effects

    def submit(self, index: int, *deps: bytes, retries: int = 0, **more: Any) -> bytes:
        task_id = child_task_id(DRIVER_TASK, index)
        options = TaskOptions(() if "actor" in more else CPU, retries)
        self.step(
            events.TaskSubmitted(
                DRIVER,
                task_spec(
                    task_id,
                    DRIVER_TASK,
                    index,
                    name=f"t{index}",
                    deps=deps,
                    options=options,
                    **more,
                ),
            )
        )
        return return_id(task_id, 0)

    def finish(self, object_id: bytes, client: int = 1, **more: Any) -> None:
        self.step(events.TaskFinished(client, object_id[:16], (VALUE,), **more))

    def ask(self, kind: str, **more: Any) -> list[Any]:
        self.ops += 1
        (reply,) = self.step(events.StateRequested(DRIVER, self.ops, kind, **more))
        assert isinstance(reply, fx.ReplyState)
        assert (reply.client, reply.op, reply.missing) == (DRIVER, self.ops, ())
        return list(reply.facts)

    def states(self) -> list[tuple[str, int, str]]:
        return [(fact.name, fact.attempt, fact.state) for fact in self.ask(facts.TASKS)]


# -- tasks -----------------------------------------------------------------------------------------


def test_a_task_goes_through_its_states() -> None:
    bench = Bench()
    first = bench.submit(0)
    bench.submit(1, first)
    bench.submit(2)
    assert bench.states() == [
        ("t0", 0, "RUNNING"),
        ("t1", 0, "PENDING_ARGS_AVAIL"),
        ("t2", 0, "PENDING_NODE_ASSIGNMENT"),
    ]
    bench.finish(first, started_ns=7, ended_ns=9)
    assert bench.states() == [
        ("t0", 0, "FINISHED"),
        ("t1", 0, "PENDING_NODE_ASSIGNMENT"),
        ("t2", 0, "RUNNING"),
    ]


def test_the_times_are_those_that_the_worker_measured() -> None:
    bench = Bench()
    bench.finish(bench.submit(0), started_ns=7, ended_ns=9)
    bench.finish(bench.submit(1))
    measured, assumed = bench.ask(facts.TASKS)
    assert (measured.started_ns, measured.ended_ns) == (7, 9)
    assert assumed.started_ns == -1 and assumed.ended_ns > assumed.submitted_ns
    assert (measured.node, measured.executor, measured.pid) == ("n0", 1, 101)


def test_each_attempt_is_told() -> None:
    bench = Bench()
    task = bench.submit(0, retries=2)
    bench.finish(task, error=True, retryable=True)
    bench.step(events.WorkerExited(1, "killed"))
    bench.finish(task, 2, error=True)
    told = bench.ask(facts.TASKS)
    assert [(fact.attempt, fact.state) for fact in told] == [(n, "FAILED") for n in range(3)]
    assert [fact.error.kind for fact in told] == ["UserError", "WorkerCrashedError", "UserError"]
    assert [fact.executor for fact in told] == [1, 1, 2]


def test_tasks_are_told_when_nothing_of_them_is_held_any_more() -> None:
    bench = Bench()
    task = bench.submit(0)
    bench.finish(task)
    bench.step(events.RefsReleased(DRIVER, (task,), (1,)))
    assert not bench.node.tasks.table
    assert bench.states() == [("t0", 0, "FINISHED")]


def test_a_task_whose_input_is_an_error_fails() -> None:
    bench = Bench()
    task = bench.submit(0)
    bench.submit(1, task)
    bench.finish(task, error=True)
    told = bench.ask(facts.TASKS)
    assert [fact.error.kind for fact in told] == ["UserError", "InputError"]
    assert told[1].executor == ""


def test_a_cancelled_task_fails() -> None:
    bench = Bench()
    bench.submit(0)
    bench.step(events.CancelRequested(DRIVER, bench.submit(1), False, False))
    told = bench.ask(facts.TASKS)
    assert (told[0].name, told[0].state, told[0].error.kind) == (
        "t1",
        "FAILED",
        "TaskCancelledError",
    )


def test_a_task_that_waits_for_others_says_so() -> None:
    bench = Bench()
    first, second = bench.submit(0), bench.submit(1)
    bench.step(events.ObjectsRequested(1, 1, (second,)))
    assert bench.states()[0] == ("t0", 0, "RUNNING_IN_RAY_GET")
    bench.finish(second, 2)
    bench.step(events.WaitRequested(1, 2, (bench.submit(2),), 1))
    assert ("t0", 0, "RUNNING_IN_RAY_WAIT") in bench.states()
    assert first


def test_the_past_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "ATTEMPTS", 3)
    bench = Bench()
    for index in range(5):
        bench.finish(bench.submit(index))
    assert [name for name, _, _ in bench.states()] == ["t2", "t3", "t4"]


# -- actors, objects, workers, nodes ---------------------------------------------------------------


def test_an_actor_goes_through_its_states() -> None:
    bench = Bench()
    argument = bench.submit(0)
    actor = bench.submit(1, argument, creation=ActorOptions(max_restarts=1))

    def told() -> tuple[str, int, str]:
        (fact,) = state.actors(bench.ask(facts.ACTORS))
        assert fact.actor_id == actor
        return fact.state, fact.worker, fact.ended

    assert told() == ("DEPENDENCIES_UNREADY", 0, "")
    bench.submit(2)
    bench.finish(argument)
    assert told() == ("PENDING_CREATION", 0, "")
    bench.finish(return_id(child_task_id(DRIVER_TASK, 2), 0))
    bench.finish(actor)
    assert told() == ("ALIVE", 1, "")
    bench.submit(3)
    bench.step(events.WorkerExited(1, "killed"))
    assert told()[0] == "RESTARTING"
    bench.finish(return_id(child_task_id(DRIVER_TASK, 3), 0), 2)
    bench.finish(actor, 2)
    assert told() == ("ALIVE", 2, "")
    bench.step(events.WorkerExited(2, "killed again"))
    assert told() == ("DEAD", 2, "its worker died: killed again")


def test_an_actor_that_nobody_wants_is_dead() -> None:
    bench = Bench()
    actor = bench.submit(0, creation=ActorOptions())
    bench.finish(actor)
    bench.step(events.RefsReleased(DRIVER, (actor,), (1,)))
    (fact,) = state.actors(bench.ask(facts.ACTORS))
    assert (fact.state, fact.ended) == ("DEAD", "all its handles are gone")


def test_why_objects_are_kept() -> None:
    bench = Bench()
    put = put_id(DRIVER_TASK, 0)
    bench.step(events.ObjectPut(DRIVER, put, 10, (), False))
    outer = put_id(DRIVER_TASK, 1)
    bench.step(events.ObjectPut(DRIVER, outer, 10, (put,), False))
    bench.step(events.RefsReleased(DRIVER, (put,), (1,)))
    busy = bench.submit(0)
    waiting = bench.submit(1, busy)
    actor = bench.submit(2, creation=ActorOptions())
    told = {fact.object_id: fact for fact in bench.ask(facts.OBJECTS)}
    assert {key: fact.held_as for key, fact in told.items()} == {
        put: "CAPTURED_IN_OBJECT",
        outer: "LOCAL_REFERENCE",
        busy: "USED_BY_PENDING_TASK",
        waiting: "LOCAL_REFERENCE",
        actor: "ACTOR_HANDLE",
    }
    assert (told[put].size_bytes, told[put].task_state, told[put].place) == (10, "", "inline")
    assert (told[busy].size_bytes, told[busy].task_state) == (-1, "RUNNING")
    assert told[outer].holders == (DRIVER,) and told[put].holders == ()


def test_workers_and_what_they_hold() -> None:
    bench = Bench()
    bench.submit(0)
    (worker,) = bench.ask(facts.WORKERS)
    assert (worker.client, worker.pid, worker.alive, worker.demand) == (1, 101, True, CPU)
    bench.step(events.WorkerExited(1, "killed"))
    dead, *_ = bench.ask(facts.WORKERS)
    assert (dead.client, dead.alive, dead.stopped, dead.reason) == (1, False, False, "killed")


def test_a_node_tells_what_is_free() -> None:
    bench = Bench()
    bench.submit(0)
    (node,) = bench.ask(facts.NODES)
    assert (node.node, node.alive, node.total, node.available) == ("n0", True, CPU, ())
    assert (node.capacity_bytes, node.used_bytes) == (MIB, 0)


# -- other nodes -----------------------------------------------------------------------------------


def asked(bench: Bench, **more: Any) -> dict[str, int]:
    """The question each other node is asked: its number, by node."""
    effects = bench.step(events.StateRequested(DRIVER, 1, facts.NODES, **more))
    return {
        effect.node: effect.message.op
        for effect in effects
        if isinstance(effect, fx.Send) and isinstance(effect.message, StateQuery)
    }


def answer(bench: Bench, source: str, op: int) -> list[Any]:
    effects = bench.step(events.MessageArrived(source, StateAnswer(op, ())))
    return [effect for effect in effects if isinstance(effect, fx.ReplyState)]


def test_the_answer_comes_when_all_have_answered() -> None:
    bench = Bench("n1", "n2")
    questions = asked(bench)
    assert set(questions) == {"n1", "n2"}
    assert not bench.node.quiescent()
    assert not answer(bench, "n1", questions["n1"])
    assert not answer(bench, "n1", questions["n1"])  # a duplicate
    (reply,) = answer(bench, "n2", questions["n2"])
    assert reply.missing == () and bench.node.quiescent()
    assert not answer(bench, "n2", questions["n2"])


def test_the_dead_are_not_waited_for() -> None:
    bench = Bench("n1", "n2")
    questions = asked(bench)
    answer(bench, "n1", questions["n1"])
    effects = bench.step(events.NodeDied("n2"))
    assert [type(effect) for effect in effects if isinstance(effect, fx.ReplyState)]
    (_, dead) = state.nodes(bench.ask(facts.NODES, here=True))
    assert (dead.node, dead.alive, dead.total) == ("n2", False, CPU)


def test_after_the_time_limit_the_answer_names_the_missing() -> None:
    bench = Bench("n1", "n2")
    effects = bench.step(events.StateRequested(DRIVER, 1, facts.NODES, timeout_ns=5))
    (timer,) = (effect for effect in effects if isinstance(effect, fx.SetTimer))
    questions = [effect.message.op for effect in effects if isinstance(effect, fx.Send)]
    assert timer.at_ns == bench.now + 5
    answer(bench, "n2", questions[-1])
    (reply,) = bench.step(events.TimerFired(timer.op))
    assert reply.missing == ("n1",)
    assert not answer(bench, "n1", questions[0])


def test_a_node_answers_another() -> None:
    bench = Bench("n1")
    (effect,) = (
        each
        for each in bench.step(events.MessageArrived("n1", StateQuery(7, facts.NODES)))
        if isinstance(each, fx.Send) and each.node == "n1"
    )
    assert isinstance(effect.message, StateAnswer)
    assert effect.message.op == 7 and len(effect.message.facts) == 1


def test_where_a_forwarded_task_runs_is_told_by_who_runs_it() -> None:
    def fact(node: str, told: str, executor: int | str, **more: Any) -> TaskFact:
        given: dict[str, Any] = {
            "node": node, "task_id": b"t", "attempt": 0, "name": "f", "function": "",
            "state": told, "parent_id": b"", "creates": False, "actor": b"", "owner": "n0",
            "executor": executor, "pid": 0, "error": None, "demand": (), "submitted_ns": 1,
            "started_ns": -1, "ended_ns": -1, **more,
        }  # fmt: skip
        return TaskFact(**given)

    def merged(*told: TaskFact) -> tuple[str, int | str, str, int, int]:
        (one,) = state.tasks(told)
        return one.node, one.executor, one.state, one.submitted_ns, one.started_ns

    sent = fact("n0", "SUBMITTED_TO_WORKER", "n1")
    done = fact("n0", "FINISHED", "n1", ended_ns=9)
    runs = fact("n1", "RUNNING", 3, submitted_ns=2, started_ns=3)
    ran = fact("n1", "FINISHED", 3, submitted_ns=2, started_ns=3, ended_ns=8)
    assert merged(sent)[:3] == ("n1", "n1", "SUBMITTED_TO_WORKER")
    assert merged(runs, sent) == ("n1", 3, "RUNNING", 1, 3)
    assert merged(sent, ran) == ("n1", 3, "FINISHED", 1, 3)
    assert merged(done, ran) == ("n1", 3, "FINISHED", 1, 3)
    assert merged(ran)[:3] == ("n1", 3, "FINISHED")
    assert merged(fact("n0", "PENDING_NODE_ASSIGNMENT", ""))[0] == ""
    failed = fact("n0", "FAILED", "n1", error=ErrorInfo("NodeDiedError", ""))
    assert merged(failed, runs)[2] == "FAILED"


# -- random clusters -------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_every_question_is_answered_once_whoever_dies(seed: int) -> None:
    cluster = Cluster(seed, crash=0.05, kill_nodes=2)
    turn, asked_of = cluster.turn, []

    def turn_and_ask() -> bool:
        if cluster.rng.random() < 0.1:
            name = cluster.rng.choice(list(cluster.nodes))
            op, kind = len(asked_of), cluster.rng.choice(KINDS)
            asked_of.append((name, op))
            cluster.step(name, events.StateRequested(DRIVER, op, kind))
        return turn()

    cluster.turn = turn_and_ask  # type: ignore[method-assign]
    run_program(cluster, 30, actors=0.3, trouble=0.1)
    assert len(asked_of) > 20
    for name, op in asked_of:
        told = cluster.told.get((name, op), [])
        assert len(told) == 1 or (not told and name not in cluster.nodes)
        assert not any(reply.missing for reply in told)
    assert all(not node.inspection.active for node in cluster.nodes.values())
    _consistent(cluster)


def _consistent(cluster: Cluster) -> None:
    """At rest, all attempts are over, each of an owner's is told once, and no actor half lives."""
    cluster.step("n0", events.StateRequested(DRIVER, 10**9, facts.TASKS))
    cluster.step("n0", events.StateRequested(DRIVER, 10**9 + 1, facts.ACTORS))
    cluster.run()
    tasks: tuple[AnyFact, ...] = cluster.told["n0", 10**9][0].facts
    for task in state.tasks(tasks):  # type: ignore[arg-type]
        assert task.state in ("FINISHED", "FAILED") or task.owner not in cluster.nodes
        assert (task.error is None) == (task.state != "FAILED")
    actors: tuple[AnyFact, ...] = cluster.told["n0", 10**9 + 1][0].facts
    for actor in state.actors(actors):  # type: ignore[arg-type]
        assert actor.state in ("ALIVE", "DEAD")
        assert bool(actor.ended) == (actor.state == "DEAD")
