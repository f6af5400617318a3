"""Random programs of tasks, actors, waits, cancels, kills and deaths, and what may come of them.

A program is a list of steps. What a step works on is chosen by numbers, modulo what there is when
it is its turn: so a program stays one when steps are left out. `Run` performs it, and keeps beside
each ref what it may end in: one value, computed by plain Python, or some of a set of errors.
"""

import asyncio
import os
import random
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import rsim
from rsim.core.ids import TASK_ID_BYTES
from tests.conformance import inspecting, marks
from tests.conformance.dags import MODULUS, expand
from tests.conformance.dags import weigh as weigh_number


class Step(NamedTuple):
    """`picks`: what it works on. `seed` goes into its value, `many` is a small number."""

    verb: str
    kind: str
    picks: tuple[int, ...]
    seed: int
    retries: int
    many: int
    flag: bool


TASKS = (
    "plain slow array promise task_put pair children wait calls stage hand cancels raising"
    " raising_once dying dying_once"
).split()
PARENTS = ("children", "delegate", "promise", "task_put")
"""They get, or return, what tasks of their own make."""
CHILD_RETRIES = 3
NESTED = ("children", "wait", "cancels", "future", "await")
"""Tasks that are handed refs."""
CALLS = "plain plain plain slow array keep delegate raising dying leave".split()
VERBS = (
    ("task", 9, TASKS),
    ("put", 2, ["small", "large"]),
    ("actor", 3, ["plain", "plain", "plain", "plain", "raising", "dying", "dying_once"]),
    ("call", 10, CALLS),
    ("cancel", 3, [""]),
    ("kill", 1, [""]),
    ("drop", 2, ["ref", "ref", "handle"]),
    ("get", 2, [""]),
    ("wait", 2, ["all", "soon", "now"]),
    ("sleep", 1, [""]),
)


Verbs = Sequence[tuple[str, int, Sequence[str]]]
"""What a step may do, how often in proportion, and the kinds of it."""


def random_program(chance: random.Random, size: int = 25, of: Verbs = VERBS) -> list[Step]:
    """A program of `size` steps."""
    verbs, weights, kinds = zip(*of, strict=True)
    kinds_of = dict(zip(verbs, kinds, strict=True))
    steps = []
    for _ in range(size):
        (verb,) = chance.choices(verbs, weights)
        picks = tuple(chance.randrange(100) for _ in range(chance.choice((1, 1, 2, 3))))
        kind = chance.choice(kinds_of[verb])
        retries = chance.choice((-1, 0, 1, 3, 3))
        steps.append(
            Step(verb, kind, picks, chance.randrange(1000), retries, chance.randrange(4),
                 chance.random() < 0.3)
        )  # fmt: skip
    return steps


# -- what tasks and actors do ----------------------------------------------------------------------

NAP_S = 0.02


def weigh(value: Any) -> int:
    """A number for any value: refs in it are followed."""
    if isinstance(value, list):
        return weigh(rsim.get(value[0]))
    if isinstance(value, Answer):
        return weigh(value.value)
    return weigh_number(value)


def combine(seed: int, values: Sequence[Any]) -> int:
    return (31 * seed + 7 * sum(map(weigh, values))) % MODULUS


class Answer(NamedTuple):
    """What a method returns: also the life of the actor that it met, and how many went before."""

    value: Any
    life: str
    turn: int


@rsim.remote
def work(kind: str, mark: Path, seed: int, *values: Any) -> Any:
    """A task that needs nothing but its inputs."""
    marks.leave(mark.parent, mark.name)
    first = marks.count(mark.parent, mark.name) == 1
    if kind == "slow":
        time.sleep(NAP_S)
    elif kind == "raising" or (kind == "raising_once" and first):
        raise LookupError(kind)
    elif kind == "dying" or (kind == "dying_once" and first):
        os._exit(1)
    number = combine(seed, values)
    if kind == "array":
        return expand(number)
    if kind == "pair":
        return number // 2, number - number // 2
    if kind == "promise":
        return [work.remote("slow", mark.with_suffix(".child"), seed, *values)]
    if kind == "task_put":
        return [rsim.put(number)]
    return number


async def await_all(refs: list[Any]) -> None:
    """Raises nothing: that would leave a cycle, with the refs in it, in an idle worker."""
    await asyncio.gather(*refs, return_exceptions=True)


@rsim.remote
def nested(kind: str, mark: Path, seed: int, refs: list[Any], timeout_s: float | None) -> Any:
    """A task that is handed refs."""
    marks.leave(mark.parent, mark.name)
    if kind == "children":
        names = [mark.with_suffix(f".{index}") for index in range(len(refs))]
        children = [
            work.remote("plain", name, 0, ref) for name, ref in zip(names, refs, strict=True)
        ]
        return combine(seed, rsim.get(children))
    if kind == "future":
        return combine(seed, [ref.future().result() for ref in refs])
    if kind == "await":
        asyncio.run(await_all(refs))
        return combine(seed, rsim.get(refs))
    if kind == "wait":
        rsim.wait(refs, num_returns=len(refs), timeout=timeout_s)
    elif kind == "cancels":
        child = work.remote("slow", mark.with_suffix(".child"), seed, *refs)
        rsim.cancel(child, force=timeout_s is None)
        try:
            rsim.get(child)
        except Exception:
            return combine(seed, ())
    return combine(seed, ())


@rsim.remote
def staged(kind: str, mark: Path, seed: int, *values: Any) -> Any:
    """A task that has an actor of its own."""
    marks.leave(mark.parent, mark.name)
    player = Player.remote("plain", mark.with_suffix(".player"))
    if kind == "hand":
        return player
    answers = [player.play.remote("plain", mark.with_suffix(".call"), seed, *values)]
    answers.append(player.play.remote("slow", mark.with_suffix(".call"), seed, answers[0]))
    return combine(seed, rsim.get(answers))


@rsim.remote
def calling(player: Any, kind: str, mark: Path, seed: int, *values: Any) -> Any:
    """A task that calls an actor of somebody else."""
    marks.leave(mark.parent, mark.name)
    answer = player.play.remote(kind, mark.with_suffix(".call"), seed, *values)
    return weigh(rsim.get(answer))


class Artist:
    """What all actors have in common."""

    def __init__(self, kind: str, mark: Path, *values: Any) -> None:
        marks.leave(mark.parent, mark.name)
        first = marks.count(mark.parent, mark.name) == 1
        if kind == "raising":
            raise LookupError(kind)
        if kind == "dying" or (kind == "dying_once" and first):
            os._exit(1)
        self.life, self.turn = uuid.uuid4().hex, 0
        self.kept = [combine(0, values)]

    def begin(self, kind: str, mark: Path) -> int:
        """A call begins: which one it is. Some kinds end here."""
        marks.leave(mark.parent, mark.name)
        self.turn += 1
        if kind == "raising":
            raise LookupError(kind)
        if kind == "dying":
            os._exit(1)
        if kind == "leave":
            rsim.actor.exit_actor()
        return self.turn


@rsim.remote
class Player(Artist):
    """An actor."""

    def play(self, kind: str, mark: Path, seed: int, *values: Any) -> Answer:
        turn = self.begin(kind, mark)
        if kind == "slow":
            time.sleep(NAP_S)
        number = combine(seed, values)
        if kind == "delegate":
            child = work.remote("plain", mark.with_suffix(".child"), seed, *values)
            assert rsim.get(child) == number
        return Answer(expand(number) if kind == "array" else number, self.life, turn)

    def keep(self, kind: str, mark: Path, seed: int, refs: list[Any]) -> Answer:
        turn = self.begin(kind, mark)
        self.kept.append(refs)
        return Answer(combine(seed, ()), self.life, turn)


# -- what may come of it ---------------------------------------------------------------------------

CRASHES = {"WorkerCrashedError", "NodeDiedError"}
LOSSES = {"ObjectLostError"}
DEATHS = {"ActorDiedError", "ActorUnavailableError"}
CANCELLED = {"TaskCancelledError"}


@dataclass(eq=False)
class Actor:
    """An actor, as the program knows it."""

    handle: Any
    made_by: "Made"
    """Stands for its creation: what can go wrong with it."""
    restarts: int
    call_retries: int
    mortal: bool
    """Something may end a life of it."""
    in_order: bool = True
    """Its calls may not overtake each other."""
    name: str = ""
    calls: list["Made"] = field(default_factory=list)
    """The driver's, in order."""

    @property
    def is_immortal(self) -> bool:
        """A call that kills it would be made again for ever."""
        return self.restarts == -1 and self.call_retries == -1

    def errors(self, run: "Run") -> set[str]:
        creation = self.made_by.errors(run)  # also of refs inside its arguments: then it has died
        return creation | (DEATHS if self.mortal or creation else set())


@dataclass(eq=False)
class Made:
    """A ref, and what it may end in."""

    step: Step
    ref: Any
    value: int | None
    """What it is if nothing goes wrong; None: something certainly does."""
    inputs: list["Made"] = field(default_factory=list)
    """Their errors are its errors."""
    hazards: set[str] = field(default_factory=set)
    actors: list[Actor] = field(default_factory=list)
    mark: Path | None = None
    runs: int | None = None
    """How often it may be run; None: any number of times."""
    may_die: bool = False
    """Its worker may, so that a cancelled task may raise that it did."""
    spares: int | None = None
    """So many deaths of its worker it survives for certain; None: any number."""
    seen: tuple[str, Any] | None = None
    life: tuple[str, int] | None = None

    def __post_init__(self) -> None:
        self.task_id = b"" if self.ref is None else self.ref.binary()[:TASK_ID_BYTES]

    def can_be_value(self) -> bool:
        return self.value is not None and all(each.can_be_value() for each in self.inputs)

    def errors(self, run: "Run") -> set[str]:
        found = set(self.hazards)
        if self.spares is not None and run.deaths_of(self) > self.spares:
            found |= run.crash
        if self.step.kind in PARENTS and run.deaths > CHILD_RETRIES:
            found |= run.crash
        for each in (*self.inputs, *self.actors):
            found |= each.errors(run)
        return found


class Run:
    """One run of a program. `deaths`: how many workers and nodes may be killed from outside."""

    def __init__(
        self,
        session: Any,
        folder: Path,
        *,
        patience_s: float,
        deaths: int = 0,
        nodes_die: bool = False,
    ) -> None:
        self.session, self.folder, self.patience_s = session, folder, patience_s
        self.deaths, self.nodes_die = deaths, nodes_die
        self.crash = CRASHES | (LOSSES if nodes_die else set())
        """What a task raises that dies more often than it is retried."""
        self.made: list[Made] = []
        self.all: list[Made] = []
        self.actors: list[Actor] = []
        self.troupe: list[Actor] = []
        """All actors, also those whose handle was dropped."""
        self.number = 0

    def perform(self, program: list[Step]) -> None:
        """Run all steps, then judge what came of them, and what is left."""
        for self.number, step in enumerate(program):
            getattr(self, f"_{step.verb}")(step)
        for made in self.made:
            self._judge(made)
        self._judge_order()
        self._judge_runs()
        inspecting.check(self.session)
        self._let_go()
        inspecting.await_nothing_left(self.session)

    def _let_go(self) -> None:
        """Drop all refs and handles."""
        self.made.clear()
        self.actors.clear()
        for made in self.all:
            made.ref = None
        for actor in self.troupe:
            actor.handle = None

    # -- steps -------------------------------------------------------------------------------------

    def _add(self, made: Made) -> None:
        made.may_die = self.deaths > 0 or made.step.kind.startswith("dying")
        self.made.append(made)
        self.all.append(made)

    def _picked(self, step: Step, most: int = 3) -> list[Made]:
        found: dict[Made, None] = {}
        for pick in step.picks[:most] if self.made else ():
            found[self.made[pick % len(self.made)]] = None
        return list(found)

    def _mark(self) -> Path:
        return self.folder / f"{self.number}"

    def deaths_of(self, made: Made) -> int:
        """How often the worker of a task has died, at most. If nodes die, a task runs also to make
        again what was lost.
        """
        if self.nodes_die or not made.task_id:
            return self.deaths
        return inspecting.faults(self.session, made.task_id)

    def _put(self, step: Step) -> None:
        number = combine(step.seed, ())
        value = expand(number) if step.kind == "large" else number
        self._add(Made(step, rsim.put(value), weigh(value)))

    def _task(self, step: Step) -> None:
        getattr(self, {"hand": "_hand", "calls": "_calls"}.get(step.kind, "_submit"))(step)

    def _options(self, step: Step) -> dict[str, Any]:
        options: dict[str, Any] = {"max_retries": step.retries}
        if step.flag:
            options["scheduling_strategy"] = "SPREAD"
        if step.kind == "raising_once":
            options["retry_exceptions"] = True
        if step.kind in ("dying", "raising_once"):
            options["max_retries"] = max(step.retries, 0)
        return options

    def _submit(self, step: Step) -> None:
        inputs, mark, kind = self._picked(step), self._mark(), step.kind
        refs, options = [each.ref for each in inputs], self._options(step)
        retries = options["max_retries"]
        value: int | None = self._value(step, inputs)
        hazards: set[str] = set()
        spares = None if retries == -1 else retries - kind.endswith("_once")
        if kind in NESTED:
            timeout_s = None if step.many % 2 else NAP_S
            ref = nested.options(**options).remote(kind, mark, step.seed, refs, timeout_s)
            if kind in ("wait", "cancels"):
                inputs, value = [], combine(step.seed, ())
            elif kind == "children" and value is not None:
                value = combine(step.seed, [combine(0, [each.value]) for each in inputs])
        elif kind == "stage":
            ref = staged.options(**options).remote(kind, mark, step.seed, *refs)
            if value is not None:
                once = combine(step.seed, [value])
                value = combine(step.seed, [value, once])
            hazards |= DEATHS if self.deaths else set()
        elif kind == "pair":
            ref, other = work.options(num_returns=2, **options).remote(kind, mark, step.seed, *refs)
            whole, value = value, None
            if whole is not None:
                value = whole // 2
                rest = Made(step, other, whole - value, inputs, hazards, spares=spares)
                self._add(rest)
        else:
            ref = work.options(**options).remote(kind, mark, step.seed, *refs)
        if kind == "dying":
            value, hazards = None, hazards | CRASHES
        elif kind == "raising":
            value, hazards = None, hazards | {"LookupError"}
        elif kind == "raising_once" and retries <= self.deaths:
            hazards |= {"LookupError"}
            value = None if retries == 0 else value
        elif kind == "dying_once" and retries == 0:
            value = None
        runs = None if retries == -1 else 1 + retries
        self._add(Made(step, ref, value, inputs, hazards, mark=mark, runs=runs, spares=spares))

    @staticmethod
    def _value(step: Step, inputs: list[Made]) -> int | None:
        values = [each.value for each in inputs]
        if None in values:
            return None
        number = combine(step.seed, values)
        return weigh(expand(number)) if step.kind == "array" else number

    def _hand(self, step: Step) -> None:
        """A task creates an actor and returns the handle."""
        made = Made(step, None, 0, mark=self._mark(), runs=4, spares=3)
        ref = staged.remote(step.kind, made.mark, step.seed)
        try:
            handle = rsim.get(ref, timeout=self.patience_s)
        except Exception as error:
            self._allow(error, made)
            return
        self._admit(Actor(handle, made, 0, 0, self.deaths > 0))

    def _calls(self, step: Step) -> None:
        """A task calls an actor."""
        if not self.actors:
            return
        actor, inputs = self.actors[step.many % len(self.actors)], self._picked(step)
        options = self._options(step)
        kind = "dying" if step.seed % 10 == 0 and not actor.is_immortal else "slow"
        ref = calling.options(**options).remote(
            actor.handle, kind, self._mark(), step.seed, *(each.ref for each in inputs)
        )
        value = self._value(step, inputs)
        if kind == "dying":
            value, actor.mortal = None, True
        retries = step.retries
        runs, spares = (None, None) if retries == -1 else (1 + retries, retries)
        made = Made(step, ref, value, inputs, set(), [actor], self._mark(), runs, spares=spares)
        self._add(made)

    def _admit(self, actor: Actor) -> None:
        self.actors.append(actor)
        self.troupe.append(actor)

    def _actor(self, step: Step, player: Any = Player, **changes: Any) -> Actor:
        inputs = self._picked(step)
        restarts, retries = step.many - 1, (0, 0, 1, -1)[step.seed % 4]
        if step.kind == "dying":
            restarts = max(restarts, 0)
        options: dict[str, Any] = {"max_restarts": restarts, "max_task_retries": retries}
        if step.flag:
            options["scheduling_strategy"] = "SPREAD"
        options |= changes
        handle = player.options(**options).remote(
            step.kind, self._mark(), *(each.ref for each in inputs)
        )
        return self._welcome(step, handle, inputs, restarts, retries)

    def _welcome(
        self, step: Step, handle: Any, inputs: list[Made], restarts: int, retries: int
    ) -> Actor:
        """An actor of the driver's is being created."""
        made = Made(step, None, 0, inputs)
        mortal = self.deaths > 0 or step.kind != "plain"
        if step.kind in ("raising", "dying") or (step.kind == "dying_once" and restarts == 0):
            made.value = None
        actor = Actor(handle, made, restarts, retries, mortal)
        self._admit(actor)
        return actor

    def _call(self, step: Step) -> None:
        if not self.actors:
            return
        actor, kind = self.actors[step.many % len(self.actors)], step.kind
        if kind == "dying" and actor.is_immortal:
            return
        inputs, mark = self._picked(step), self._mark()
        refs = [each.ref for each in inputs]
        value = self._value(step, inputs)
        hazards: set[str] = set(LOSSES) if self.nodes_die else set()
        if kind == "keep":
            ref = actor.handle.keep.remote(kind, mark, step.seed, refs)
            inputs, value = [], combine(step.seed, ())
        else:
            ref = actor.handle.play.remote(kind, mark, step.seed, *refs)
        if kind in ("dying", "leave"):
            actor.mortal, value = True, None
        elif kind == "raising":
            value, hazards = None, hazards | {"LookupError"}
        retries = actor.call_retries
        made = Made(step, ref, value, inputs, hazards, [actor], mark)
        made.runs = None if retries == -1 else 1 + retries
        if not actor.made_by.can_be_value():
            made.value = None
        actor.calls.append(made)
        self._add(made)

    def _cancel(self, step: Step) -> None:
        for made in self._picked(step, most=1):
            if made.step.verb == "put" or made.step.kind == "await":
                continue  # asyncio.run(), interrupted, leaves a cycle, too
            force = step.flag and made.step.verb != "call"
            rsim.cancel(made.ref, force=force, recursive=step.many > 0)
            for each in self.all:
                if each.step is made.step and (each.seen is None or self.nodes_die):
                    each.hazards |= CANCELLED | (CRASHES if force or each.may_die else set())

    def _kill(self, step: Step) -> None:
        if self.actors:
            actor = self.actors[step.picks[0] % len(self.actors)]
            actor.mortal = True
            rsim.kill(actor.handle, no_restart=step.flag)

    def _drop(self, step: Step) -> None:
        if step.kind == "handle" and self.actors:
            self.actors.pop(step.picks[0] % len(self.actors)).handle = None
        for made in self._picked(step, most=1) if step.kind == "ref" else ():
            self.made.remove(made)
            made.ref = None

    def _get(self, step: Step) -> None:
        for made in self._picked(step, most=1):
            self._judge(made)

    def _wait(self, step: Step) -> None:
        refs = [made.ref for made in self._picked(step)]
        if not refs:
            return
        count = step.many % len(refs) + 1
        timeout_s = {"all": None, "soon": NAP_S, "now": 0}[step.kind]
        ready, rest = rsim.wait(refs, num_returns=count, timeout=timeout_s)
        assert len(ready) <= count and (timeout_s is not None or len(ready) == count)
        assert [ref for ref in refs if ref in ready] == ready
        assert [ref for ref in refs if ref not in ready] == rest

    def _sleep(self, step: Step) -> None:
        time.sleep(NAP_S * step.many)  # user program

    # -- judgement ---------------------------------------------------------------------------------

    def _judge(self, made: Made) -> None:
        """Get a ref: the outcome must be allowed, and the same as before."""
        try:
            value = rsim.get(made.ref, timeout=self.patience_s)
            if isinstance(value, Answer):
                made.life = value.life, value.turn
            if isinstance(value, list):
                value = rsim.get(value[0], timeout=self.patience_s)
            outcome: tuple[str, Any] = "value", weigh(value)
        except Exception as error:
            self._allow(error, made)
            outcome = "error", type(error).__name__
        else:
            assert made.can_be_value(), f"{made.step}: {outcome[1]} instead of {made.errors(self)}"
            assert outcome[1] == made.value, f"{made.step}: {outcome[1]} is not {made.value}"
        assert made.seen in (None, outcome) or self.nodes_die, (made.step, made.seen, outcome)
        made.seen = outcome

    def _allow(self, error: Exception, made: Made) -> None:
        names = {kind.__name__ for kind in type(error).__mro__}
        if not names & made.errors(self):
            raise AssertionError(f"{made.step} may not raise {error!r}") from error

    def _judge_order(self) -> None:
        """The calls that met the same life of an actor met it in the order of their submission."""
        for actor in filter(lambda each: each.in_order, self.troupe):
            lives: dict[str, int] = {}
            for made in actor.calls:
                if made.life is None or self.nodes_die:
                    continue
                life, turn = made.life
                assert lives.get(life, 0) < turn, f"{made.step} was overtaken"
                lives[life] = turn

    def _judge_runs(self) -> None:
        for made in self.all:
            if made.mark is not None and made.runs is not None:
                runs = marks.count(self.folder, made.mark.name)
                assert runs <= made.runs, f"{made.step} ran {runs} times"
