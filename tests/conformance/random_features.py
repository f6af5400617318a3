"""Random programs with all that there is: besides tasks and plain actors also concurrent and named
ones, streaming generators, placement groups, and nodes that come and go.
"""

import asyncio
import contextlib
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rsim
from rsim.exceptions import ActorAlreadyExistsError
from rsim.util import (
    list_named_actors,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from rsim.util.scheduling_strategies import PlacementGroupSchedulingStrategy
from tests.conformance import marks
from tests.conformance.dags import expand
from tests.conformance.random_programs import (
    CRASHES,
    LOSSES,
    NAP_S,
    VERBS,
    Actor,
    Answer,
    Artist,
    Made,
    Player,
    Run,
    Step,
    combine,
    work,
)

FEATURES = (
    *VERBS,
    ("task", 3, ["future", "await"]),
    ("troupe", 4, ["async", "threads", "loose"]),
    ("stream", 4, "plain slow array raising dying dying_once method".split()),
    ("take", 6, ["one", "some", "all"]),
    ("stop", 2, ["drop", "cancel", "force"]),
    ("name", 3, ["create", "reuse", "find", "detached"]),
    ("house", 2, ["PACK", "SPREAD", "STRICT_PACK"]),
    ("tenant", 4, ["task", "actor"]),
    ("evict", 1, [""]),
    ("node", 1, ["add", "add", "remove"]),
)
SLOTS = {"slot": 2}
"""What each node must have for placement groups."""


# -- what tasks and actors do ----------------------------------------------------------------------


@rsim.remote
def stream(kind: str, mark: Path, seed: int, number: int, *values: Any) -> Any:
    """A generator: item by item another number."""
    marks.leave(mark.parent, mark.name)
    first = marks.count(mark.parent, mark.name) == 1
    for index in range(number):
        if kind == "slow":
            time.sleep(NAP_S)
        item = combine(seed + index, values)
        yield expand(item) if kind == "array" else item
    if kind == "raising":
        raise LookupError(kind)
    if kind == "dying" or (kind == "dying_once" and first):
        os._exit(1)


async def follow(value: Any) -> Any:
    """What the refs in a value refer to."""
    return await value[0] if isinstance(value, list) else value


@rsim.remote(concurrency_groups={"stage": 2})
class AsyncPlayer(Artist):
    """An actor whose calls run at the same time."""

    @rsim.method(concurrency_group="stage")
    async def play(self, kind: str, mark: Path, seed: int, *values: Any) -> Answer:
        turn = self.begin(kind, mark)
        if kind == "slow":
            await asyncio.sleep(NAP_S)
        number = combine(seed, await asyncio.gather(*map(follow, values)))
        if kind == "delegate":
            assert await work.remote("plain", mark.with_suffix(".child"), seed, *values) == number
        return Answer(expand(number) if kind == "array" else number, self.life, turn)

    async def keep(self, kind: str, mark: Path, seed: int, refs: list[Any]) -> Answer:
        self.begin(kind, mark)
        self.kept.append(refs)
        await asyncio.wait(refs, timeout=NAP_S) if refs else None
        return Answer(combine(seed, ()), self.life, self.turn)

    @rsim.method(num_returns="streaming")
    async def stream(self, kind: str, mark: Path, seed: int, number: int, *values: Any) -> Any:
        marks.leave(mark.parent, mark.name)
        for index in range(number):
            await asyncio.sleep(NAP_S)
            yield combine(seed + index, values)


# -- what the program knows ------------------------------------------------------------------------


@dataclass(eq=False)
class Stream:
    """A generator that the program may take more items of."""

    generator: Any
    made: Made
    """Stands for all items; its hazards are theirs, too."""
    items: list[int | None]
    """None: an error for certain."""
    taken: int = 0
    failed: bool = False


@dataclass(eq=False)
class House:
    """A placement group, of slots or of one CPU."""

    group: Any
    demand: dict[str, Any]
    hazards: set[str] = field(default_factory=set)
    actors: list[Actor] = field(default_factory=list)


class Everything(Run):
    """One run of a program with all that there is."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.streams: list[Stream] = []
        self.named: dict[str, list[Actor]] = {}
        self.house: House | None = None
        self.added: list[str] = []

    def perform(self, program: list[Step]) -> None:
        removals = sum(step.verb == "node" and step.kind == "remove" for step in program)
        self.deaths += removals
        if removals:
            self.nodes_die, self.crash = True, CRASHES | LOSSES
        super().perform(program)
        assert list_named_actors(all_namespaces=True) == []
        states = {row["state"] for row in placement_group_table().values()}
        assert states <= {"REMOVED"}

    def _let_go(self) -> None:
        for name in self.named:
            try:
                rsim.kill(rsim.get_actor(name))
            except ValueError:
                continue
        if self.house is not None:
            remove_placement_group(self.house.group)
        for each in self.streams:
            each.generator = None
        super()._let_go()

    # -- concurrent and named actors ---------------------------------------------------------------

    def _troupe(self, step: Step) -> None:
        birth = step._replace(kind="dying_once" if step.seed % 10 == 0 else "plain")
        if step.kind == "async":
            actor = self._actor(birth, AsyncPlayer)
        elif step.kind == "threads":
            actor = self._actor(birth, max_concurrency=3)
        else:
            actor = self._actor(birth, allow_out_of_order_execution=True)
        actor.in_order = False

    def _name(self, step: Step) -> None:
        name = f"name-{step.seed % 2}"
        known = self.named.setdefault(name, [])
        birth = step._replace(kind="plain", picks=())
        try:
            if step.kind == "find":
                self._found(rsim.get_actor(name), known)
            elif step.kind == "reuse":
                handle = Player.options(name=name, get_if_exists=True).remote("plain", self._mark())
                if not self._found(handle, known):
                    known.append(self._welcome(birth, handle, [], 0, 0))
            else:
                lifetime = {"lifetime": "detached"} if step.kind == "detached" else {}
                known.append(self._actor(birth, name=name, **lifetime))
        except ActorAlreadyExistsError:
            assert known and step.kind != "find"
        except ValueError:
            assert step.kind == "find"
            assert all(each.mortal or each.handle is None for each in known), "it must exist"

    def _found(self, handle: Any, known: list[Actor]) -> bool:
        """Whether it may be an actor that was known by this name."""
        held = [actor.handle for actor in known if actor in self.actors]
        return handle in held or len(held) < len(known)

    # -- streams -----------------------------------------------------------------------------------

    def _stream(self, step: Step) -> None:
        inputs, mark, kind, number = self._picked(step), self._mark(), step.kind, step.many
        refs, options = [each.ref for each in inputs], self._options(step)
        retries, hazards = options["max_retries"], set[str]()
        actors = [each for each in self.actors if not each.in_order and each.handle is not None]
        playing = [each for each in actors if hasattr(each.handle, "stream")]
        if kind == "method" and playing:
            actor = playing[step.seed % len(playing)]
            retries, hazards = actor.call_retries, set(self._loss())
            generator = actor.handle.stream.remote(kind, mark, step.seed, number, *refs)
            made = Made(step, None, 0, inputs, hazards, [actor], mark)
        else:
            spares = None if retries == -1 else retries - kind.endswith("_once")
            if kind == "dying":
                hazards |= {"WorkerCrashedError", "NodeDiedError"}
            generator = stream.options(**options).remote(kind, mark, step.seed, number, *refs)
            made = Made(step, generator.completed(), 0, inputs, hazards, [], mark, spares=spares)
            made.ref = None
        made.runs = None if retries == -1 else 1 + retries
        made.may_die = self.deaths > 0 or kind.startswith("dying")
        items: list[int | None] = []
        for index in range(number):
            value = self._value(step._replace(seed=step.seed + index), inputs)
            items.append(value)
        if kind == "raising":
            hazards |= {"LookupError"}
            items.append(None)
        elif kind == "dying" or (kind == "dying_once" and retries == 0):
            items.append(None)
        self.all.append(made)
        self.streams.append(Stream(generator, made, items))

    def _loss(self) -> set[str]:
        return {"ObjectLostError"} if self.nodes_die else set()

    def _take(self, step: Step) -> None:
        if not self.streams:
            return
        stream = self.streams[step.picks[0] % len(self.streams)]
        for _ in range({"one": 1, "some": 2, "all": 9}[step.kind]):
            if stream.generator is None or not self._take_one(stream):
                return

    def _take_one(self, stream: Stream) -> bool:
        """The next item; False if there is none."""
        made = stream.made
        ready, _ = rsim.wait([stream.generator], timeout=self.patience_s)
        assert ready, f"{made.step} hangs"
        try:
            ref = next(stream.generator)
        except StopIteration:
            assert stream.failed or stream.taken == len(stream.items), f"{made.step} is short"
            return False
        assert not stream.failed, f"{made.step} goes on after its error"
        value = stream.items[stream.taken] if stream.taken < len(stream.items) else None
        stream.taken += 1
        item = Made(made.step, ref, value, made.inputs, made.hazards, made.actors)
        item.spares = made.spares
        if any(not each.made_by.can_be_value() for each in made.actors):
            item.value = None
        self._add(item)
        self._judge(item)
        stream.failed = item.seen is not None and item.seen[0] == "error"
        return not stream.failed

    def _stop(self, step: Step) -> None:
        if not self.streams:
            return
        stream = self.streams[step.picks[0] % len(self.streams)]
        if stream.generator is None:
            return
        if step.kind == "drop":
            stream.generator = None
            return
        force = step.kind == "force" and not stream.made.actors
        rsim.cancel(stream.generator, force=force)
        stream.made.hazards |= {"TaskCancelledError"}
        if force or stream.made.may_die:
            stream.made.hazards |= {"WorkerCrashedError", "NodeDiedError"}

    # -- placement groups --------------------------------------------------------------------------

    def _house(self, step: Step) -> None:
        if self.house is not None:
            return
        if step.flag:
            bundles, demand = [{"CPU": 1}], {"num_cpus": 1}
        else:
            bundles, demand = [{"slot": 1}] * 2, {"num_cpus": 0, "resources": {"slot": 1}}
        self.house = House(placement_group(bundles, step.kind), demand)

    def _tenant(self, step: Step) -> None:
        house = self.house
        if house is None:
            return
        place = PlacementGroupSchedulingStrategy(house.group)
        if step.kind == "actor":
            demand = {**house.demand, "num_cpus": 0, "resources": {}}
            actor = self._actor(step._replace(kind="plain"), scheduling_strategy=place, **demand)
            house.actors.append(actor)
            return
        inputs, mark = self._picked(step), self._mark()
        options = {**house.demand, "scheduling_strategy": place, "max_retries": step.retries}
        ref = work.options(**options).remote("slow", mark, step.seed, *(e.ref for e in inputs))
        made = Made(step, ref, self._value(step, inputs), inputs)
        made.spares = None if step.retries == -1 else step.retries
        made.inputs = [*inputs, Made(step, None, 0, [], house.hazards)]
        made.mark, made.runs = mark, None if step.retries == -1 else 1 + step.retries
        self._add(made)

    def _evict(self, step: Step) -> None:
        if self.house is None:
            return
        house, self.house = self.house, None
        remove_placement_group(house.group)
        house.hazards |= {"TaskPlacementGroupRemoved", "WorkerCrashedError"}
        for actor in house.actors:
            actor.mortal = True
            actor.made_by.hazards |= {"ActorPlacementGroupRemoved"}

    # -- nodes -------------------------------------------------------------------------------------

    def _node(self, step: Step) -> None:
        if step.kind == "add":
            if len(self.added) < 2:
                self.added.append(self.session.add_node(num_cpus=2, resources=SLOTS))
        elif self.added:
            name = self.added.pop(step.picks[0] % len(self.added))
            with contextlib.suppress(ValueError):  # a fault was quicker
                self.session.remove_node(name, graceful=step.flag)
