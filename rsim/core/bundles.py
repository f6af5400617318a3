"""Bundles: the parts of a placement group, on which nodes they go, and what they are called there.

Decides where bundles go, as one pure function of what the nodes have free; and the names of the
resources that a reserved bundle turns plain ones into. Must never plan more for a node than it has,
nor some bundles of a group without the others. Owns no state.

Names. A bundle with a CPU gives its node ``CPU_group_<index>_<group>`` and ``CPU_group_<group>``;
a task in the group asks for these instead of a CPU. The local scheduler, the pools and the
policies therefore need to know nothing of groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from rsim.core.labels import meets
from rsim.core.policies import NodeView
from rsim.core.records import RESOURCE_UNITS, Demand, LabelSelector, Strategy
from rsim.core.resources import fits

STRATEGIES = ("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD")

_MARK = "bundle"
"""A resource of every bundle: a task without any demand asks for a little of it, to run there."""
_MARKS_IN_BUNDLE = 1000 * RESOURCE_UNITS
_MARKS_OF_TASK = RESOURCE_UNITS // 1000


class Bundle(msgspec.Struct, frozen=True):
    """A bundle that is looking for a node."""

    index: int
    demand: Demand
    selector: LabelSelector = ()


# -- names -----------------------------------------------------------------------------------------


def names_in(name: str, group_id: bytes, index: int) -> tuple[str, ...]:
    """What a resource is called in a bundle, and in all bundles of the group; -1: only that."""
    of_group = f"{name}_group_{group_id.hex()}"
    return (of_group,) if index < 0 else (f"{name}_group_{index}_{group_id.hex()}", of_group)


def _named(demand: Demand, marks: int, group_id: bytes, index: int) -> Demand:
    items = (*demand, (_MARK, marks))
    names = ((names_in(name, group_id, index), units) for name, units in items)
    return tuple(sorted((each, units) for both, units in names for each in both))


def resources_of(demand: Demand, group_id: bytes, index: int) -> Demand:
    """What a reserved bundle gives its node."""
    return _named(demand, _MARKS_IN_BUNDLE, group_id, index)


def demand_in(demand: Demand, group_id: bytes, index: int) -> Demand:
    """What a task asks for to run in a bundle; index -1: in any."""
    return _named(demand, _MARKS_OF_TASK, group_id, index)


def placed_in(
    group_id: bytes, index: int, captures: bool, demand: Demand, strategy: Strategy
) -> tuple[Demand, Strategy]:
    """The demand and strategy of a task that is to run in a placement group. What ``strategy`` said
    of labels stays.
    """
    changes = {"kind": "GROUP", "group": group_id, "bundle": index, "captures": captures}
    return demand_in(demand, group_id, index), msgspec.structs.replace(strategy, **changes)


def mark_of(group_id: bytes) -> str:
    """The resource that every task in the group asks for, and no other."""
    return names_in(_MARK, group_id, -1)[0]


def uses(demand: Demand, group_id: bytes) -> bool:
    """Whether a demand is one in the group."""
    return (mark_of(group_id), _MARKS_OF_TASK) in demand


def outside(demand: Demand) -> Demand:
    """The demand of a task in a group, or not, as it would be outside."""
    found: dict[str, int] = {}
    for name, units in demand:
        plain, _, inside = name.partition("_group_")
        if not inside or plain != _MARK:
            found[plain if inside else name] = units
    return tuple(sorted(found.items()))


def reservation_key(group_id: bytes, op: int) -> bytes:
    """What the reservation of bundles on a node is called in that node's reports."""
    return group_id + op.to_bytes(8, "big")


def sum_of(demands: Iterable[Demand]) -> Demand:
    """All of them together."""
    total: dict[str, int] = {}
    for demand in demands:
        for name, units in demand:
            total[name] = total.get(name, 0) + units
    return tuple(sorted(total.items()))


# -- plans -----------------------------------------------------------------------------------------


class _Room:
    """A node, and what is left of it as the plan goes on."""

    def __init__(self, view: NodeView, free: Mapping[str, int]) -> None:
        self.view = view
        self.free = dict(free)
        self.used = False

    def holds(self, bundle: Bundle) -> bool:
        return fits(self.free, bundle.demand) and meets(self.view.labels, bundle.selector)

    def score(self, demand: Demand) -> float:
        """How much would be left, of each resource relative to what is free; more is better."""
        left = 0.0
        for name, units in demand:
            free = self.free.get(name, 0)
            left += (free - units) / free if free else 0.0
        return left

    def put(self, bundle: Bundle) -> None:
        self.used = True
        for name, units in bundle.demand:
            self.free[name] -= units


Plan = dict[int, str]
"""Nodes by the index of the bundle."""


def plan(
    bundles: Sequence[Bundle],
    strategy: str,
    nodes: Sequence[NodeView],
    *,
    placed: Sequence[str] = (),
    preferred: str = "",
    idle: bool = False,
) -> Plan | None:
    """Nodes for all bundles, or None. ``nodes``: sorted by name. ``placed``: where other bundles of
    the group are already. ``preferred``: the node for STRICT_PACK. ``idle``: as if nothing ran.
    """
    rooms = [_Room(view, view.total if idle else view.available) for view in nodes if view.alive]
    for room in rooms:
        room.used = room.view.name in placed
    ordered = sorted(bundles, key=_scarcity)
    if strategy == "STRICT_PACK":
        if placed:
            rooms = [room for room in rooms if room.used]
        return _strict_pack(ordered, rooms, preferred)
    if strategy == "STRICT_SPREAD":
        return _strict_spread(ordered, [room for room in rooms if not room.used])
    return _PLANNERS[strategy](ordered, rooms)


def _scarcity(bundle: Bundle) -> tuple[object, ...]:
    """Sorts what is hardest to place to the front: GPUs, custom resources, memory, CPUs."""
    units = dict(bundle.demand)
    custom = sorted(-units[name] for name in units if name not in ("GPU", "memory", "CPU"))
    usual = (-units.get(name, 0) for name in ("memory", "CPU"))
    return (-units.get("GPU", 0), not custom, custom, *usual, bundle.index)


def _best(rooms: Sequence[_Room], bundle: Bundle) -> _Room | None:
    able = [room for room in rooms if room.holds(bundle)]
    return max(able, key=lambda room: room.score(bundle.demand), default=None)


def _strict_pack(bundles: Sequence[Bundle], rooms: Sequence[_Room], preferred: str) -> Plan | None:
    conditions = tuple(each for bundle in bundles for each in bundle.selector)
    whole = Bundle(0, sum_of(bundle.demand for bundle in bundles), conditions)
    best = _best([room for room in rooms if room.view.name == preferred], whole)
    best = best or _best(rooms, whole)
    return None if best is None else {bundle.index: best.view.name for bundle in bundles}


def _strict_spread(bundles: Sequence[Bundle], rooms: Sequence[_Room]) -> Plan | None:
    """One bundle per node: a matching, so that it is found whenever there is one."""
    taken: dict[str, Bundle] = {}
    for bundle in bundles:
        if not _match(bundle, rooms, taken, {}):
            return None
    return {bundle.index: name for name, bundle in taken.items()}


def _match(
    bundle: Bundle, rooms: Sequence[_Room], taken: dict[str, Bundle], tried: dict[str, None]
) -> bool:
    """Give the bundle a node, if need be one whose bundle can move to another."""
    able = [room for room in rooms if room.holds(bundle)]
    able.sort(key=lambda room: (room.view.name in taken, -room.score(bundle.demand)))
    for room in able:
        name = room.view.name
        if name in tried:
            continue
        tried[name] = None
        other = taken.get(name)
        if other is None or _match(other, rooms, taken, tried):
            taken[name] = bundle
            return True
    return False


def _pack(bundles: Sequence[Bundle], rooms: Sequence[_Room]) -> Plan | None:
    """As many as possible on the best node for the first, then on the best for the next."""
    found: Plan = {}
    left = list(bundles)
    while left:
        used = [room for room in rooms if room.used]
        room = _best(used, left[0]) or _best(rooms, left[0])
        if room is None:
            return None
        for bundle in list(left):
            if room.holds(bundle):
                room.put(bundle)
                found[bundle.index] = room.view.name
                left.remove(bundle)
    return found


def _spread(bundles: Sequence[Bundle], rooms: Sequence[_Room]) -> Plan | None:
    """Each on a node of its own, as long as there are such."""
    found: Plan = {}
    for bundle in bundles:
        fresh = [room for room in rooms if not room.used]
        room = _best(fresh, bundle) or _best(rooms, bundle)
        if room is None:
            return None
        room.put(bundle)
        found[bundle.index] = room.view.name
    return found


_PLANNERS: dict[str, Callable[[Sequence[Bundle], Sequence[_Room]], Plan | None]] = {
    "PACK": _pack,
    "SPREAD": _spread,
}
