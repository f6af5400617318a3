"""The global scheduler: late binding, no reservation that leaks, nothing forgotten."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsim.core.choices import FirstChoice
from rsim.core.effects import Send
from rsim.core.events import MessageArrived, NodeDied, NodeJoined, TimerFired, WorkerStarted
from rsim.core.global_scheduler import GlobalScheduler
from rsim.core.messages import (
    ObjectPull,
    PlacementFailure,
    PlacementRequest,
    PlacementWithdrawal,
    ResourceReport,
    TaskPlacement,
)
from rsim.core.policies import ClusterView, Hybrid, TaskView
from rsim.core.records import Demand, Strategy
from rsim.core.resources import Pool, demand_of
from rsim.exceptions import PolicyError
from tests.core.desk import NUMBERS, Desk, task_id

HARD_B = Strategy("AFFINITY", "b")
SOFT_B = Strategy("AFFINITY", "b", soft=True)
SPREAD = Strategy("SPREAD")


# -- late binding ----------------------------------------------------------------------------------


def test_a_request_reserves_and_the_next_one_sees_it() -> None:
    desk = Desk("a", "b", cpus=1)
    assert desk.ask(1) == [("a", 1, "a")]
    assert desk.ask(2) == [("a", 2, "b")]
    assert desk.free("a") == desk.free("b") == 0
    assert desk.ask(3) == []
    assert desk.machine.waiting_report() == [
        f"task {task_id(3).hex()} of a waits for {{'CPU': 1}}: none is free"
    ]
    assert desk.machine.quiescent(), "who waits is not active"


def test_waiting_requests_are_placed_when_a_report_says_so() -> None:
    desk = Desk("a", "b", cpus=1)
    for number in range(6):
        desk.ask(number)
    assert desk.report("b", 0, 1) == []
    assert desk.report("b", 1) == [("a", 2, "b")]
    assert desk.report("b", 1) == [], "the reservation of 2 still counts"
    assert desk.report("b", 1, 2) == [("a", 3, "b")]


def test_a_node_may_use_its_resources_itself() -> None:
    desk = Desk("a", "b", cpus=4)
    desk.ask(1, source="b")
    assert desk.free("b") == 3
    desk.report("b", 1)
    assert desk.free("b") == 0
    desk.report("b", 0)
    assert desk.free("b") == -1
    desk.report("b", 0, 1)
    assert desk.free("b") == 0


def test_shapes_take_turns_in_order_of_arrival_and_small_ones_pass_big_ones() -> None:
    desk = Desk("a", cpus=4)
    assert desk.ask(0, 4) == [("a", 0, "a")]
    desk.ask(1, 1)
    desk.ask(2, 4)
    desk.ask(3, 1, SPREAD)
    desk.ask(4, 1)
    assert desk.report("a", 2, 0) == [("a", 1, "a"), ("a", 3, "a")]
    assert desk.report("a", 4, 1, 3) == [("a", 2, "a")], "it came before 4"
    assert desk.report("a", 4, 2) == [("a", 4, "a")]


def test_zero_demand_is_placed_at_once_even_on_a_full_node() -> None:
    desk = Desk("a", cpus=1)
    desk.report("a", 0)
    assert desk.ask(1, cpus=0) == [("a", 1, "a")]


def test_withdrawal_before_and_after_the_placement() -> None:
    desk = Desk("a", cpus=1)
    desk.ask(1)
    desk.ask(2)
    desk.ask(3)
    assert desk.withdraw(2) == []
    assert desk.withdraw(1, source="b") == [], "not its request"
    assert desk.withdraw(1) == [("a", 3, "a")]
    assert desk.withdraw(1) == desk.withdraw(99) == []
    desk.withdraw(3)
    assert desk.free("a") == 1


def test_late_and_repeated_messages_do_no_harm() -> None:
    desk = Desk("a", "b", cpus=1)
    assert desk.ask(1) == desk.ask(1) == [("a", 1, "a")]
    desk.ask(2)
    desk.ask(3)
    assert desk.ask(3) == []
    assert desk.report("a", 0, 1, seq=5) == []
    for seq in (5, 4):
        assert desk.report("a", 1, seq=seq) == [], "stale"
    assert desk.report("z", 9) == [], "unknown"
    assert desk.report("b", 0, 1, seq=1) == [], "1 was never placed on b"
    assert desk.report("a", 1, 1, seq=6) == [("a", 3, "a")]
    assert desk.join("a", 64) == []
    assert desk.free("a") == 0


def test_a_report_may_name_a_task_twice() -> None:
    """It has been accepted, and has ended."""
    desk = Desk("a", "b")
    assert desk.ask(1, 2, Strategy("SPREAD")) == [("a", 1, "a")]
    assert desk.report("a", 2, 1, 1) == []
    assert desk.free("a") == 2


def test_a_request_of_another_source_supersedes() -> None:
    desk = Desk("a", "b", cpus=1)
    assert desk.ask(1) == [("a", 1, "a")]
    assert desk.ask(1, source="b") == [("b", 1, "b")]
    assert (desk.free("a"), desk.free("b")) == (1, 0)
    assert desk.withdraw(1, source="a") == []
    assert desk.free("b") == 0


def test_the_queue_of_one_shape_costs_nothing_while_it_does_not_fit() -> None:
    asked = 0

    class Counting(Hybrid):
        def place(self, task: TaskView, cluster: ClusterView, choices: object) -> str | None:
            nonlocal asked
            asked += 1
            return super().place(task, cluster, FirstChoice())

    desk = Desk("a", cpus=1, policy=Counting())
    desk.machine.check = lambda: None  # type: ignore[method-assign]
    for number in range(3000):
        desk.ask(number)
    assert asked == 1
    for _ in range(10):
        desk.report("a", 0)
    assert asked == 1
    for number in range(2999):
        assert desk.report("a", 1, number) == [("a", number + 1, "a")]
    assert asked == 3000


# -- what can never run ----------------------------------------------------------------------------


def test_infeasible_requests_are_told_once_and_retried_when_a_node_joins() -> None:
    desk = Desk("a")
    assert desk.ask(1, gpus=1) == [("a", 1, False)]
    assert desk.ask(2, gpus=1) == [("a", 2, False)]
    assert desk.ask(2, gpus=1) == []
    assert [request.task_id for request in desk.machine.infeasible()] == [task_id(1), task_id(2)]
    (line,) = desk.machine.waiting_report()
    assert line.startswith(f"2 tasks, first task {task_id(1).hex()} of a, wait for ")
    assert line.endswith("{'CPU': 1, 'GPU': 1}, which no node has in total")
    assert desk.join("b") == []
    assert desk.join("c", gpus=1) == [("a", 1, "c")]
    assert desk.machine.infeasible() == []
    assert desk.die("c") == [], "2 was told before"
    assert [request.task_id for request in desk.machine.infeasible()] == [task_id(2)]


def test_a_death_makes_requests_infeasible() -> None:
    desk = Desk("a")
    desk.join("g", gpus=1)
    assert desk.ask(1, gpus=1) == [("a", 1, "g")]
    assert desk.ask(2, gpus=1) == []
    assert desk.die("g") == [("a", 2, False)]
    assert desk.ask(1, gpus=1) == [("a", 1, False)], "asked again: its node is dead"
    assert desk.join("h", gpus=1) == [("a", 2, "h")]


def test_before_any_node_has_joined() -> None:
    desk = Desk()
    assert desk.ask(1) == [("a", 1, False)]
    assert desk.join("a") == [("a", 1, "a")]


def test_affinity() -> None:
    desk = Desk("a", "b", cpus=1)
    assert desk.ask(1, strategy=HARD_B) == [("a", 1, "b")]
    assert desk.ask(2, strategy=HARD_B) == []
    assert desk.ask(3, strategy=SOFT_B) == [], "it waits for b, although a is free"
    assert desk.ask(4, strategy=SOFT_B, source="b") == []
    assert desk.ask(5, 2, strategy=HARD_B) == [("a", 5, True)], "b is too small for ever"
    assert desk.ask(6, strategy=Strategy("AFFINITY", "z")) == [("a", 6, True)]
    assert desk.report("a", 1) == []
    assert desk.withdraw(1) == [("a", 2, "b")]
    assert desk.die("b") == [("a", 3, "a")], "hard 2 was placed there: its owner asks again"
    assert desk.ask(2, strategy=HARD_B) == [("a", 2, True)]


def test_waiting_for_a_node_that_dies() -> None:
    desk = Desk("a", "b", cpus=1)
    desk.ask(1, strategy=HARD_B)
    desk.ask(2, strategy=HARD_B)
    desk.ask(3, strategy=HARD_B, source="b")
    assert desk.die("b") == [("a", 2, True)], "nobody tells the dead"
    assert desk.machine.waiting_report() == ["the orphans of b wait for a report from a"]


def test_reasons_of_failures() -> None:
    desk = Desk("a", "b")
    desk.die("b")

    def reason(strategy: Strategy) -> str:
        message = PlacementRequest(task_id(1), demand_of(8), strategy, ())
        (effect,) = desk.step(MessageArrived("a", message))
        assert isinstance(effect, Send) and isinstance(effect.message, PlacementFailure)
        return effect.message.reason

    assert reason(HARD_B) == "node 'b' is dead, and the task may run nowhere else"
    assert reason(Strategy("AFFINITY", "z")).startswith("node 'z' does not exist")
    too_small = "node 'a' has {'CPU': 2} in total, not {'CPU': 8}"
    assert reason(Strategy("AFFINITY", "a")) == too_small
    assert reason(SOFT_B) == "no node has in total"


def test_the_death_of_a_source_gives_its_reservations_back() -> None:
    desk = Desk("a", "b", cpus=1)
    assert desk.ask(1, strategy=HARD_B) == [("a", 1, "b")]
    desk.ask(2, strategy=SOFT_B, source="b")
    assert desk.die("a")[0] == ("b", 2, "b")
    assert desk.ask(3) == [], "the dead ask nothing"
    desk.report("b", 1, 1, 2)
    assert desk.free("b") == 1


def test_dead_names_do_not_come_back() -> None:
    desk = Desk("a", "b")
    desk.die("b")
    assert desk.die("b") == desk.join("b") == []
    assert [view.name for view in desk.machine.views()] == ["a"]


# -- policies of users -----------------------------------------------------------------------------


class Says:
    """A policy that answers by a table: task number to node."""

    def __init__(self, answers: dict[int, object]) -> None:
        self.answers = answers

    def place(self, task: TaskView, cluster: ClusterView, choices: object) -> str | None:
        return self.answers.get(NUMBERS[task.task_id])  # type: ignore[return-value]


def test_a_policy_may_wait_for_a_busy_node_and_holds_back_its_queue() -> None:
    desk = Desk("a", "b", cpus=1, policy=Says({1: "a", 2: "a", 3: "b"}))
    assert desk.ask(1) == [("a", 1, "a")]
    assert desk.ask(2) == desk.ask(3) == []
    assert desk.report("b", 1) == []
    assert desk.withdraw(2) == [("a", 3, "b")]


def test_a_held_queue_goes_on_with_nodes_that_were_free_before() -> None:
    desk = Desk("a", "b", cpus=1, policy=Says({1: "a", 2: "a", 3: "b"}))
    for number in (1, 2, 3):
        desk.ask(number)
    assert desk.report("a", 1, 1) == [("a", 2, "a"), ("a", 3, "b")]


def test_none_means_wait_and_the_policy_is_asked_at_the_next_event() -> None:
    policy = Says({})
    desk = Desk("a", "b", cpus=1, policy=policy)
    assert desk.ask(1) == []
    desk.report("a", 0)
    policy.answers[1] = "b"
    assert desk.report("a", 0) == [("a", 1, "b")]


@pytest.mark.parametrize(
    ("answer", "why"),
    [("z", "no such node; valid: a"), ("a", "{'CPU': 2} in total"), (7, "not the name of a node")],
)
def test_an_impossible_answer_names_policy_task_and_answer(answer: object, why: str) -> None:
    desk = Desk("a", policy=Says({1: answer}))
    desk.join("big", 8)
    with pytest.raises(PolicyError, match=why) as caught:
        desk.ask(1, cpus=4)
    for part in ("policy Says", task_id(1).hex(), repr(answer)):
        assert part in str(caught.value)


def test_what_is_no_message_for_it() -> None:
    desk = Desk("a")
    with pytest.raises(TypeError, match="WorkerStarted"):
        desk.step(WorkerStarted(1))
    with pytest.raises(TypeError, match="ObjectPull"):
        desk.send("a", ObjectPull(b""))
    assert desk.step(TimerFired(1)) == []


# -- properties ------------------------------------------------------------------------------------


class World:
    """Nodes that behave as the global scheduler expects, one event at a time."""

    def __init__(self, policy: str = "hybrid") -> None:
        self.machine = GlobalScheduler(policy, FirstChoice())
        self.pools: dict[str, Pool] = {}
        self.local: dict[str, int] = {}
        self.accepted: dict[str, list[bytes]] = {}
        self.reports: list[tuple[str, ResourceReport]] = []
        self.seq = 0
        self.names = 0
        self.waiting: dict[tuple[Demand, Strategy], list[bytes]] = {}
        self.asked: dict[bytes, tuple[str, Demand, Strategy]] = {}
        self.placed: dict[bytes, str] = {}
        self.running: dict[bytes, str] = {}
        self.done: list[bytes] = []
        self.failed: list[bytes] = []

    def step(self, event: object) -> None:
        effects = self.machine.handle(event, 0)  # type: ignore[arg-type]
        self.machine.check()
        views = {view.name: view for view in self.machine.views()}
        for effect in effects:
            assert isinstance(effect, Send) and effect.node in self.pools
            message = effect.message
            if isinstance(message, TaskPlacement):
                source, demand, strategy = self.asked[message.task_id]
                assert effect.node == source
                assert self.waiting[demand, strategy].pop(0) == message.task_id, "not FIFO"
                assert all(views[message.node].available[name] >= 0 for name, _ in demand)
                self.placed[message.task_id] = message.node
            elif isinstance(message, PlacementFailure) and message.final:
                _, demand, strategy = self.asked[message.task_id]
                self.failed.append(message.task_id)
                if message.task_id in self.waiting.get((demand, strategy), []):
                    self.waiting[demand, strategy].remove(message.task_id)

    def join(self, cpus: int, gpus: int) -> None:
        name = f"n{self.names}"
        self.names += 1
        total = demand_of(cpus, gpus)
        self.pools[name] = Pool(total)
        self.local[name] = 0
        self.accepted[name] = []
        self.step(NodeJoined(name, total))

    def ask(self, which: int, cpus: int, gpus: int, strategy: Strategy) -> None:
        source = list(self.pools)[which % len(self.pools)]
        task, demand = task_id(len(self.asked)), demand_of(cpus, gpus)
        self.asked[task] = (source, demand, strategy)
        self.waiting.setdefault((demand, strategy), []).append(task)
        self.step(MessageArrived(source, PlacementRequest(task, demand, strategy, ())))

    def withdraw(self, which: int) -> None:
        """Of a task that waits, or whose placement has come but is not taken up."""
        open_ = [*(task for tasks in self.waiting.values() for task in tasks), *self.placed]
        if open_:
            task = open_[which % len(open_)]
            self.placed.pop(task, None)
            source, demand, strategy = self.asked[task]
            if task in self.waiting[demand, strategy]:
                self.waiting[demand, strategy].remove(task)
            self.done.append(task)
            self.step(MessageArrived(source, PlacementWithdrawal(task)))

    def forward(self, which: int) -> None:
        """A placed task comes to its node, which has room for it or not (it used it itself)."""
        if self.placed:
            task = list(self.placed)[which % len(self.placed)]
            self.running[task] = name = self.placed.pop(task)
            self.pools[name].take_forced(self.asked[task][1])
            self.accepted[name].append(task)

    def finish(self, which: int) -> None:
        if self.running:
            task = list(self.running)[which % len(self.running)]
            self.pools[self.running.pop(task)].give(self.asked[task][1])
            self.done.append(task)

    def use(self, which: int) -> None:
        """A node starts or ends a task of its own."""
        name = list(self.pools)[which // 2 % len(self.pools)]
        pool, one = self.pools[name], demand_of(1)
        if which % 2 == 0:
            if pool.fits_now(one):
                pool.take(one)
                self.local[name] += 1
        elif self.local[name]:
            pool.give(one)
            self.local[name] -= 1

    def report(self, which: int) -> None:
        name = list(self.pools)[which % len(self.pools)]
        self.seq += 1
        ids = tuple(self.accepted[name])
        self.accepted[name].clear()
        report = ResourceReport(self.seq, self.pools[name].changes(), 0, ids)
        self.reports.append((name, report))

    def deliver(self, which: int, again: bool) -> None:
        """The first report under way from some node arrives (and, ``again``, stays under way)."""
        if self.reports:
            name = self.reports[which % len(self.reports)][0]
            index = [source for source, _ in self.reports].index(name)
            source, report = self.reports[index]
            if not again:
                del self.reports[index]
            self.step(MessageArrived(source, report))

    def die(self, which: int) -> None:
        if len(self.pools) < 2:
            return
        dead = list(self.pools)[which % len(self.pools)]
        del self.pools[dead]
        for tasks in self.waiting.values():
            tasks[:] = [task for task in tasks if self.asked[task][0] != dead]
        for where in (self.placed, self.running):
            for task in [t for t, node in where.items() if dead in (node, self.asked[t][0])]:
                node = where.pop(task)
                if where is self.running and node != dead:
                    self.pools[node].give(self.asked[task][1])
        self.reports = [each for each in self.reports if each[0] != dead]
        self.step(NodeDied(dead))

    def settle(self) -> None:
        """Let everything come to its end, as long as anything happens."""
        while True:
            while self.placed:
                self.forward(0)
            while self.running:
                self.finish(0)
            for which in range(len(self.pools)):
                while self.local[list(self.pools)[which]]:
                    self.use(2 * which + 1)
                self.report(which)
            while self.reports:
                self.deliver(0, again=False)
            if not self.placed:
                return


STRATEGIES = (
    Strategy(),
    Strategy(),
    SPREAD,
    Strategy("AFFINITY", "n1"),
    Strategy("AFFINITY", "n2", soft=True),
)
small = st.integers(0, 11)
actions = st.one_of(
    st.tuples(
        st.just("ask"), small, st.integers(0, 3), st.integers(0, 1), st.sampled_from(STRATEGIES)
    ),
    st.tuples(st.just("ask"), small, st.just(1), st.just(0), st.just(Strategy())),
    st.tuples(st.just("join"), st.integers(0, 3), st.integers(0, 1)),
    st.tuples(st.just("deliver"), small, st.booleans()),
    st.tuples(
        st.sampled_from(("withdraw", "forward", "finish", "use", "report", "report", "die")), small
    ),
)


@settings(max_examples=150, deadline=None)
@given(
    policy=st.sampled_from(("hybrid", "spread", "random", "hybrid[threshold=0]")),
    steps=st.lists(actions, min_size=5, max_size=60),
)
def test_nothing_is_overbooked_or_leaked_and_all_that_can_run_does(
    policy: str, steps: list[tuple[object, ...]]
) -> None:
    world = World(policy)
    world.join(2, 0)
    world.join(1, 1)
    for name, *arguments in steps:
        getattr(world, str(name))(*arguments)
    world.settle()
    infeasible = [request.task_id for request in world.machine.infeasible()]
    assert sorted(task for tasks in world.waiting.values() for task in tasks) == sorted(infeasible)
    for task in infeasible:
        assert not any(pool.fits_total(world.asked[task][1]) for pool in world.pools.values())
    for view in world.machine.views():
        assert {name: units for name, units in view.available.items() if units} == view.total


HISTORY = """
import sys
sys.path.insert(0, {root!r})
from tests.core.test_global_scheduler import STRATEGIES, World
world, state = World("hybrid[top_k_fraction=1]"), 7
world.join(2, 0), world.join(1, 1), world.join(3, 0)
for _ in range(1500):
    state = state * 6364136223846793005 + 1442695040888963407 & 0xFFFFFFFFFFFFFFFF
    which = state >> 33
    kind = which % 9
    if kind < 3:
        world.ask(which >> 4, which % 3, which % 7 == 0, STRATEGIES[which % 5])
    elif kind == 8 and which % 5 == 0:
        world.join(2, 1), world.die(which >> 4)
    else:
        names = ("withdraw", "forward", "finish", "use", "report", "report")
        getattr(world, names[kind - 3 if kind < 8 else 5])(which >> 4)
        world.deliver(0, again=False)
print(world.machine.fingerprint(), len(world.done))
"""


def test_the_history_does_not_depend_on_hash_seeds() -> None:
    program = HISTORY.format(root=str(Path(__file__).parents[2]))
    outputs = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=200,
        ).stdout
        for seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1]
    assert int(outputs[0].split()[1]) > 100, "a history in which something happens"
