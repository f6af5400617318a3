"""Placement groups: bundles of resources that are reserved together, for tasks and actors to use.

Decides which groups can be asked for, and how tasks are told to run in one. Must never wait, but
for the global scheduler's answer that it knows the group, and where `wait` says so. Owns no state:
a handle holds the id and the bundles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from rsim.api import checks, labels
from rsim.api.session import running_client
from rsim.runtime import current

if TYPE_CHECKING:
    from rsim.core.records import Demand, GroupRequest, GroupState, GroupStats
    from rsim.runtime.refs import ObjectRef

_STRATEGIES = ("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD")

Bundles = Sequence[Mapping[str, float]]


class PlacementGroupID:
    """The id of a placement group."""

    __slots__ = ("_binary",)

    def __init__(self, binary: bytes) -> None:
        self._binary = binary

    def binary(self) -> bytes:
        """The id itself; empty for no group."""
        return self._binary

    def hex(self) -> str:
        """The id in hex digits."""
        return self._binary.hex()

    def is_nil(self) -> bool:
        """Whether it is the id of no group."""
        return not self._binary

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PlacementGroupID):
            return NotImplemented
        return self._binary == other._binary

    def __hash__(self) -> int:
        return hash(self._binary)

    def __repr__(self) -> str:
        return f"PlacementGroupID({self.hex()})"

    def __reduce__(self) -> tuple[Any, ...]:
        return PlacementGroupID, (self._binary,)


class PlacementGroup:
    """A handle of a placement group. It may be passed on; the group stays without it, too."""

    def __init__(self, id: PlacementGroupID, bundle_cache: Bundles | None = None) -> None:
        self.id = id
        self.bundle_cache = None if bundle_cache is None else [dict(each) for each in bundle_cache]

    @staticmethod
    def empty() -> PlacementGroup:
        """The handle of no group."""
        return PlacementGroup(PlacementGroupID(b""), [])

    @property
    def is_empty(self) -> bool:
        """Whether it is the handle of no group."""
        return self.id.is_nil()

    @property
    def bundle_specs(self) -> list[dict[str, float]]:
        """The resources of each bundle. Raises ValueError when there is no such group."""
        if self.bundle_cache is None:
            from rsim.runtime.tenancy import bundles_of

            bundles = bundles_of(_client(), self.id.binary())
            self.bundle_cache = [_quantities(bundle) for bundle in bundles]
        return self.bundle_cache

    @property
    def bundle_count(self) -> int:
        """How many bundles there are."""
        return len(self.bundle_specs)

    def ready(self) -> ObjectRef[Any]:
        """A ref of this handle that is ready when all bundles are reserved; it raises
        TaskPlacementGroupRemoved when the group is removed before.
        """
        from rsim.api.calls import put

        if self.is_empty:
            return put(self)
        strategy = PlacementGroupSchedulingStrategy(self)
        ref: ObjectRef[Any] = _check().options(scheduling_strategy=strategy).remote(self)
        return ref

    def wait(self, timeout_seconds: float = 30) -> bool:
        """Whether all bundles are reserved within so many seconds.

        Raises TaskPlacementGroupRemoved when the group is removed.
        """
        from rsim.api.calls import cancel, get, wait

        ref = self.ready()
        if not wait([ref], timeout=timeout_seconds)[0]:
            cancel(ref)
            return False
        get(ref)
        return True

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PlacementGroup):
            return NotImplemented
        return self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"PlacementGroup({self.id.hex()})"

    def __reduce__(self) -> tuple[Any, ...]:
        return PlacementGroup, (self.id, self.bundle_specs)


def _itself(group: PlacementGroup) -> PlacementGroup:
    return group


@cache
def _check() -> Any:
    """A task that runs, in its group, as soon as it can."""
    from rsim.api.remote import remote

    return remote(num_cpus=0, name="PlacementGroup.ready")(_itself)


class PlacementGroupSchedulingStrategy:
    """Run in a placement group; None: not in that of the task that submits.

    `placement_group_bundle_index`: in which bundle; -1: in any. With
    `placement_group_capture_child_tasks` what the task or actor submits runs in the group as well,
    unless it has a strategy of its own; None: as in the parent.
    """

    def __init__(
        self,
        placement_group: PlacementGroup | None,
        placement_group_bundle_index: int = -1,
        placement_group_capture_child_tasks: bool | None = None,
    ) -> None:
        self.placement_group = placement_group
        self.placement_group_bundle_index = placement_group_bundle_index
        self.placement_group_capture_child_tasks = placement_group_capture_child_tasks


# -- functions -------------------------------------------------------------------------------------


def placement_group(
    bundles: list[dict[str, float]],
    strategy: str = "PACK",
    name: str = "",
    lifetime: str | None = None,
    _soft_target_node_id: str | None = None,
    bundle_label_selector: list[dict[str, str]] | None = None,
) -> PlacementGroup:
    """Reserve bundles of resources, all or none; return a handle at once.

    bundles: a dict of quantities by resource ("CPU", "GPU", "memory", custom) for each.
    strategy: PACK and SPREAD: on as few nodes, or as many, as possible; STRICT_PACK: on one node;
        STRICT_SPREAD: each on a node of its own.
    name: to find it by `get_placement_group`. lifetime: "detached": it outlives the driver.
    _soft_target_node_id: the node where a STRICT_PACK group had best be.
    bundle_label_selector: for each bundle, the labels of nodes that it may be on.

    What does not fit waits for resources or nodes to come. Raises ValueError for bad arguments, and
    when there is a group of that name.
    """
    from rsim.core.ids import child_task_id
    from rsim.core.records import GroupSpec
    from rsim.core.resources import demand_of

    checked = _bundles(bundles)
    if strategy not in _STRATEGIES:
        raise ValueError(f"strategy must be one of {', '.join(_STRATEGIES)}, not {strategy!r}")
    if lifetime not in (None, "detached"):
        raise ValueError(f"lifetime must be None or 'detached', not {lifetime!r}")
    target = _soft_target_node_id or ""
    if target and strategy != "STRICT_PACK":
        raise ValueError(f"_soft_target_node_id is for STRICT_PACK only, not for {strategy}")
    client = _client()
    context = client.context
    spec = GroupSpec(
        child_task_id(context.task_id, next(context.submissions)),
        tuple(demand_of(resources=bundle) for bundle in checked),
        strategy,
        checks.text("name", name),
        _selectors(bundle_label_selector, len(checked)),
        checks.text("_soft_target_node_id", target),
        lifetime is not None,
    )
    _ask(spec)
    return PlacementGroup(PlacementGroupID(spec.group_id), bundles)


def _bundles(bundles: object) -> list[dict[str, float]]:
    if not isinstance(bundles, list):
        raise ValueError(f"bundles must be a list of dicts, not {bundles!r}")
    if not bundles:
        raise ValueError("bundles must not be empty: give one as in [{'CPU': 1}]")
    return [_bundle(f"bundles[{index}]", bundle) for index, bundle in enumerate(bundles)]


def _bundle(name: str, bundle: object) -> dict[str, float]:
    if not isinstance(bundle, dict):
        raise ValueError(f"{name} must be a dict of quantities by resource, not {bundle!r}")
    found = {}
    for resource, amount in bundle.items():
        if resource == "bundle":
            raise ValueError(f"{name} must not contain 'bundle': each bundle is one already")
        try:
            plain = checks.text(f"a key of {name}", resource)
            found[plain] = checks.amount_of(plain, f"{name}[{resource!r}]", amount)
        except TypeError as error:  # Ray's is a ValueError in either case
            raise ValueError(str(error)) from None
    if not any(found.values()):
        raise ValueError(f"{name} must ask for something, and is {bundle!r}")
    return found


def _selectors(given: object, count: int) -> tuple[Any, ...]:
    if given is None:
        return ()
    if not isinstance(given, list) or len(given) != count:
        raise ValueError(
            f"bundle_label_selector must be a list of {count} dicts, one for each bundle, not "
            f"{given!r}"
        )
    found = []
    for index, each in enumerate(given):
        try:
            found.append(labels.selector(f"bundle_label_selector[{index}]", each))
        except TypeError as error:
            raise ValueError(str(error)) from None
    return tuple(found)


def remove_placement_group(placement_group: PlacementGroup) -> None:
    """Give the bundles back, and kill what runs in them; does nothing when they are gone.

    Raises TypeError for anything but a placement group.
    """
    from rsim.core.records import GroupRemoval

    if not isinstance(placement_group, PlacementGroup):
        raise TypeError(f"remove_placement_group() takes a PlacementGroup, not {placement_group!r}")
    _ask(GroupRemoval(placement_group.id.binary()))


def get_placement_group(placement_group_name: str) -> PlacementGroup:
    """The placement group of that name. Raises ValueError when there is none."""
    from rsim.core.records import GroupQuery

    if not placement_group_name:
        raise ValueError("placement_group_name must not be empty")
    (found,) = _ask(GroupQuery(name=checks.text("placement_group_name", placement_group_name)))
    return PlacementGroup(PlacementGroupID(found.spec.group_id), _specs(found))


def get_current_placement_group() -> PlacementGroup | None:
    """The placement group that the task or actor runs in which calls this; None outside of one."""
    tenancy = _client().tenancy
    if tenancy is None or not tenancy.group:
        return None
    return PlacementGroup(PlacementGroupID(tenancy.group))


def placement_group_table(placement_group: PlacementGroup | None = None) -> dict[str, Any]:
    """What is known of a placement group, or of all by their ids: a dict with placement_group_id,
    name, strategy, state (PENDING, CREATED, RESCHEDULING, REMOVED), bundles and bundles_to_node_id
    by index, and stats: how its bundles came to have nodes, or why they have not. Raises ValueError
    when there is no such group.
    """
    from rsim.core.records import GroupQuery

    if placement_group is None:
        return {group.spec.group_id.hex(): _row(group) for group in _ask(GroupQuery())}
    (found,) = _ask(GroupQuery(placement_group.id.binary()))
    return _row(found)


def _row(group: GroupState) -> dict[str, Any]:
    spec = group.spec
    return {
        "placement_group_id": spec.group_id.hex(),
        "name": spec.name,
        "bundles": dict(enumerate(_specs(group))),
        "bundles_to_node_id": dict(enumerate(group.nodes)),
        "strategy": spec.strategy,
        "state": group.state,
        "stats": _stats(group.stats),
    }


def _stats(stats: GroupStats) -> dict[str, Any]:
    """scheduling_state: SCHEDULING_STARTED, FINISHED, REMOVED, NO_RESOURCES or INFEASIBLE; a
    waiting group is looked at as soon as anything is free, so that no attempt is delayed.
    """
    stage = "SCHEDULING_STARTED" if stats.stage == "STARTED" else stats.stage
    return {
        "end_to_end_creation_latency_ms": stats.created_after_ns / 1e6,
        "scheduling_latency_ms": stats.placed_after_ns / 1e6,
        "scheduling_attempt": stats.attempts,
        "highest_retry_delay_ms": 0.0,
        "scheduling_state": stage,
    }


def _specs(group: GroupState) -> list[dict[str, float]]:
    return [_quantities(bundle) for bundle in group.spec.bundles]


def _quantities(bundle: Demand) -> dict[str, float]:
    from rsim.core.records import RESOURCE_UNITS

    return {name: units / RESOURCE_UNITS for name, units in bundle}


def _client() -> Any:
    return current.client or running_client()


def _ask(request: GroupRequest) -> tuple[GroupState, ...]:
    from rsim.runtime.tenancy import ask

    return ask(_client(), request)


def get_gpu_ids() -> list[int] | list[str]:
    """The GPUs that the task or actor may use which calls this; in the driver none.
    CUDA_VISIBLE_DEVICES says the same.

    Their indices on the node; where the node's own CUDA_VISIBLE_DEVICES names its GPUs, their names
    there.
    """
    return device_ids("GPU")


def device_ids(kind: str) -> list[int] | list[str]:
    """The accelerators of this kind that the task or actor may use: see get_gpu_ids()."""
    client = _client()
    tenancy = client.tenancy
    found = [] if tenancy is None else [index for its, index in tenancy.devices if its == kind]
    names = [client.environment.name(kind, index) for index in found]
    return found if None in names else [str(name) for name in names]
