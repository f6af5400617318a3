"""The options that say what a task or actor needs, and where it may run.

Decides their valid values, and the demand and strategy that the core is told. Must never accept two
of them that contradict each other. Owns no state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rsim.api import checks, labels
from rsim.api.groups import PlacementGroup, PlacementGroupSchedulingStrategy
from rsim.api.labels import NodeLabelSchedulingStrategy
from rsim.runtime import current

if TYPE_CHECKING:
    from rsim.core.records import Demand, LabelSelector, Strategy

Checks = dict[str, Callable[[str, Any], Any]]
"""The options that there are, by name: what makes a checked value of the one given."""

_STRATEGIES = ("DEFAULT", "SPREAD")
_A_LITTLE = 0.001
"""Of the resource that stands for a type of accelerator."""


class NodeAffinitySchedulingStrategy:
    """Run on the node `node_id` (its name). `soft`: elsewhere if that one cannot run it.

    `_spill_on_unavailable`: soft, and elsewhere also when that one is busy. `_fail_on_unavailable`:
    not soft, and fail rather than wait when it is busy.
    """

    def __init__(
        self,
        node_id: str,
        soft: bool = False,
        _spill_on_unavailable: bool = False,
        _fail_on_unavailable: bool = False,
    ) -> None:
        node_id = checks.text("node_id", node_id)
        if not node_id:
            raise ValueError("node_id must be the name of a node, not ''")
        if not isinstance(soft, bool):
            raise TypeError(f"soft must be a bool, not {soft!r}")
        if _spill_on_unavailable and not soft:
            raise ValueError(
                "_spill_on_unavailable cannot be set when soft is False. Please set soft to True "
                "to use _spill_on_unavailable."
            )
        if _fail_on_unavailable and soft:
            raise ValueError(
                "_fail_on_unavailable cannot be set when soft is True. Please set soft to False "
                "to use _fail_on_unavailable."
            )
        self.node_id = node_id
        self.soft = soft
        self._spill_on_unavailable = bool(_spill_on_unavailable)
        self._fail_on_unavailable = bool(_fail_on_unavailable)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NodeAffinitySchedulingStrategy):
            return NotImplemented
        return vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(tuple(vars(self).values()))

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in vars(self).items() if value)
        return f"{type(self).__name__}({given})"


def _scheduling_strategy(name: str, value: object) -> object:
    if isinstance(value, PlacementGroupSchedulingStrategy) and value.placement_group is not None:
        _group("placement_group of a PlacementGroupSchedulingStrategy", value.placement_group)
    if isinstance(value, _Objects):
        return value
    if isinstance(value, str) and value in _STRATEGIES:
        return value
    raise ValueError(
        f"{name} must be 'DEFAULT', 'SPREAD', or one of rsim.util.scheduling_strategies: a "
        "NodeAffinitySchedulingStrategy, NodeLabelSchedulingStrategy or "
        f"PlacementGroupSchedulingStrategy; not {value!r}"
    )


_Objects = (
    NodeAffinitySchedulingStrategy,
    NodeLabelSchedulingStrategy,
    PlacementGroupSchedulingStrategy,
)


def _group(name: str, value: object) -> object:
    if isinstance(value, PlacementGroup) or value == "default":
        return value
    raise TypeError(f"{name} must be a PlacementGroup, 'default' or None, not {value!r}")


PLACEMENT: Checks = {
    "num_cpus": checks.quantity,
    "num_gpus": checks.devices,
    "memory": checks.quantity,
    "resources": checks.resources,
    "accelerator_type": checks.text,
    "label_selector": labels.selector,
    "fallback_strategy": labels.fallback,
    "scheduling_strategy": _scheduling_strategy,
    "placement_group": _group,
    "placement_group_bundle_index": lambda name, value: checks.integer(name, value, -(10**9)),
    "placement_group_capture_child_tasks": checks.flag,
}
"""What functions and classes have in common."""


class Place:
    """What a task asks for, and where it may be, from checked options; in the core's words.

    `refusal` is set when it can never be placed: its calls raise that ValueError.
    """

    __slots__ = ("demand", "held", "refusal", "strategy")

    def __init__(self, given: dict[str, Any], name: str, is_actor: bool = False) -> None:
        self.refusal: ValueError | None = None
        self.demand: Demand = _demand(given, 1.0)
        """What it takes to be placed."""
        self.held: Demand = _demand(given, 0.0) if is_actor else ()
        """What an actor holds for life."""
        self.strategy: Strategy = _strategy(given)
        group = _group_strategy(given)
        if group is not None:
            try:
                self._join(group, name, is_actor)
            except ValueError as error:
                self.refusal = error

    def _join(self, wanted: PlacementGroupSchedulingStrategy, name: str, is_actor: bool) -> None:
        """Run in a placement group. ValueError when none of its bundles can hold this."""
        from rsim.core.bundles import demand_in, placed_in
        from rsim.core.resources import demand_of
        from rsim.runtime.tenancy import check_fit

        group, index = wanted.placement_group, wanted.placement_group_bundle_index
        if group is None or group.is_empty:
            if index != -1:
                raise ValueError(
                    "placement_group_bundle_index is for placement groups, and none is given"
                )
            return
        count = group.bundle_count
        if not -1 <= index < count:
            raise ValueError(
                f"placement group bundle index {index} is invalid: placement_group_bundle_index "
                f"must be -1, or from 0 to {count - 1}, the last bundle of the placement group"
            )
        bundles = tuple(demand_of(resources=bundle) for bundle in group.bundle_specs)
        check_fit(name, self.demand, bundles, index)
        captures = wanted.placement_group_capture_child_tasks
        if captures is None:
            client = current.client
            tenancy = client.tenancy if client is not None else None
            captures = tenancy is not None and tenancy.captures
        group_id = group.id.binary()
        placed = placed_in(group_id, index, captures, self.demand, self.strategy)
        self.demand, self.strategy = placed
        if is_actor:
            self.held = demand_in(self.held, group_id, index)


def _demand(given: dict[str, Any], default_cpus: float) -> Demand:
    from rsim.core.resources import demand_of

    resources = dict(given.get("resources") or {})
    if given.get("accelerator_type"):
        resources[f"accelerator_type:{given['accelerator_type']}"] = _A_LITTLE
    cpus = given.get("num_cpus", default_cpus)
    return demand_of(cpus, given.get("num_gpus"), given.get("memory"), resources)


def _strategy(given: dict[str, Any]) -> Strategy:
    """The scheduling strategy; of a placement group, what goes beside it."""
    from rsim.core.records import Strategy

    selector = tuple(given.get("label_selector", ()))
    fallback = tuple(map(tuple, given.get("fallback_strategy", ())))
    strategy = given.get("scheduling_strategy")
    if isinstance(strategy, NodeAffinitySchedulingStrategy):
        spills, fails = strategy._spill_on_unavailable, strategy._fail_on_unavailable
        where = strategy.node_id, strategy.soft, spills, fails
        return Strategy("AFFINITY", *where, selector, fallback, apart=True)
    kind = "LABELS" if selector or fallback else "DEFAULT"
    preferred: LabelSelector = ()
    if isinstance(strategy, NodeLabelSchedulingStrategy):
        kind = "LABELS"
        selector, preferred = (*selector, *strategy.hard), strategy.soft
    elif strategy == "SPREAD":
        kind = "SPREAD"
    apart = strategy is not None
    return Strategy(kind, selector=selector, fallback=fallback, preferred=preferred, apart=apart)


def _group_strategy(given: dict[str, Any]) -> PlacementGroupSchedulingStrategy | None:
    """The placement group, said in the new way or in the old one."""
    strategy, group = given.get("scheduling_strategy"), given.get("placement_group")
    if group is not None and group != "default":
        if strategy is not None:
            raise ValueError(
                "placement_group is the old way to give a scheduling_strategy: give one of them"
            )
        strategy = PlacementGroupSchedulingStrategy(
            group,
            given.get("placement_group_bundle_index", -1),
            given.get("placement_group_capture_child_tasks"),
        )
    elif given.get("placement_group_bundle_index", -1) != -1:
        raise ValueError("placement_group_bundle_index is for placement groups: give one")
    return strategy if isinstance(strategy, PlacementGroupSchedulingStrategy) else None
