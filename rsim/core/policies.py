"""Placement policies: on which node a task shall run.

Decides one thing: ``place(task, cluster, choices)`` names a node or None. A busy node as the answer
means that the task waits for it; None, that it waits for whatever changes. A policy must never
change its arguments nor keep them; a free choice goes through ``choices``. Owns no state, but for
the round-robin position of `Spread`.

Anything with such a ``place`` is a policy. Requests of one demand and strategy are put to it in
order: as long as it holds the first one back, it is not asked about the next.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, runtime_checkable

import msgspec

from rsim.core.choices import Choices
from rsim.core.labels import meets
from rsim.core.records import Demand, Strategy
from rsim.core.resources import fits, gpus_in, utilisation


class TaskView(msgspec.Struct, frozen=True, gc=False):
    """What a policy sees of a task."""

    task_id: bytes
    demand: Demand
    strategy: Strategy = Strategy()
    locality: tuple[tuple[str, int], ...] = ()
    """Bytes of the task's arguments that a node holds, by node."""
    source: str = ""
    """The node whose local scheduler asks; it owns the task."""


class NodeView(msgspec.Struct, frozen=True):
    """What a policy sees of a node. Quantities are units of 1/10000 by resource."""

    name: str
    total: dict[str, int]
    available: dict[str, int]
    """Free, less what is reserved for tasks on their way; negative where oversubscribed."""
    queued: int = 0
    """Tasks that wait on the node."""
    alive: bool = True
    labels: dict[str, str] = {}

    def suits(self, strategy: Strategy) -> bool:
        """Whether the labels meet a selector of the strategy, if it has any."""
        if meets(self.labels, strategy.selector):
            return True
        return any(meets(self.labels, selector) for selector in strategy.fallback)

    def fits_now(self, demand: Demand) -> bool:
        """Whether the task could start there at once."""
        return self.alive and fits(self.available, demand)

    def fits_total(self, demand: Demand) -> bool:
        """Whether the task could run there at all."""
        return self.alive and fits(self.total, demand)

    def utilisation(self) -> float:
        """The used fraction of the critical resource (CPU or memory)."""
        return utilisation(self.total, self.available)


class ClusterView(msgspec.Struct, frozen=True):
    """What a policy sees of the cluster: the nodes, sorted by name."""

    nodes: Sequence[NodeView]

    def node(self, name: str) -> NodeView | None:
        """The node of that name."""
        return next((node for node in self.nodes if node.name == name), None)


@runtime_checkable
class Policy(Protocol):
    """Where tasks go; see the top of this module."""

    def place(self, task: TaskView, cluster: ClusterView, choices: Choices) -> str | None:
        """Return the name of a node that could run the task, or None."""


class Hybrid:
    """Ray's default: the preferred node if it is free, else pack up to a threshold, then spread.

    Preferred is the node with most bytes of the arguments or, when no node has any, the one that
    asks. If it is busy, nodes are ranked by utilisation, where less than ``threshold`` counts as
    none, then by name, and one of the first k is drawn: k is ``top_k_fraction`` of all nodes, but
    at least ``top_k_absolute``. Tasks that need no GPU avoid nodes with GPUs while others are free,
    unless their arguments are there.
    """

    def __init__(
        self, threshold: float = 0.5, top_k_fraction: float = 0.2, top_k_absolute: int = 1
    ) -> None:
        for name, value in (("threshold", threshold), ("top_k_fraction", top_k_fraction)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be from 0 to 1, not {value!r}")
        if not top_k_absolute >= 1:
            raise ValueError(f"top_k_absolute must be 1 or more, not {top_k_absolute!r}")
        self.threshold = threshold
        self.top_k_fraction = top_k_fraction
        self.top_k_absolute = top_k_absolute

    def place(self, task: TaskView, cluster: ClusterView, choices: Choices) -> str | None:
        """The best free node, else the best busy one, else None."""
        demand, nodes = task.demand, cluster.nodes
        preferred = _preferred(task, cluster)
        if preferred is not None and preferred.fits_now(demand):
            has_inputs = any(size for _, size in task.locality)
            if has_inputs or not _wastes_gpus(preferred, demand):
                return preferred.name
        available = [node for node in nodes if node.fits_now(demand)]
        available = [node for node in available if not _wastes_gpus(node, demand)] or available
        if preferred is not None and any(node is preferred for node in available):
            return preferred.name
        ranked = available or [node for node in nodes if node.fits_total(demand)]
        if not ranked:
            return None
        ranked = sorted(ranked, key=self._score)
        if (
            not available
            and preferred is not None
            and preferred.fits_total(demand)
            and self._score(preferred) <= self._score(ranked[0])
        ):
            return preferred.name
        k = max(self.top_k_absolute, int(len(nodes) * self.top_k_fraction))
        return _draw(ranked[:k], choices)

    def _score(self, node: NodeView) -> float:
        used = node.utilisation()
        return used if used >= self.threshold else 0.0


class Spread:
    """Round robin over the nodes: the next free one, else the next one that can run the task."""

    def __init__(self) -> None:
        self._next = 0

    def place(self, task: TaskView, cluster: ClusterView, choices: Choices) -> str | None:
        """The next node after the last one chosen."""
        nodes = cluster.nodes
        for fitting in (NodeView.fits_now, NodeView.fits_total):
            for step in range(len(nodes)):
                index = (self._next + step) % len(nodes)
                if fitting(nodes[index], task.demand):
                    self._next = (index + 1) % len(nodes)
                    return nodes[index].name
        return None

    def fingerprint(self) -> str:
        """The position."""
        return str(self._next)


class Random:
    """Any free node, else any that can run the task."""

    def place(self, task: TaskView, cluster: ClusterView, choices: Choices) -> str | None:
        """A node drawn from those that fit."""
        for fitting in (NodeView.fits_now, NodeView.fits_total):
            nodes = [node for node in cluster.nodes if fitting(node, task.demand)]
            if nodes:
                return _draw(nodes, choices)
        return None


class Affinity:
    """The node that the task's strategy names; if that cannot run it and ``soft``: the fallback;
    if it is busy and ``spills``: also the fallback.
    """

    def __init__(self, fallback: Policy) -> None:
        self.fallback = fallback

    def place(self, task: TaskView, cluster: ClusterView, choices: Choices) -> str | None:
        """The named node, be it busy or not, unless the task had rather spill."""
        strategy, demand = task.strategy, task.demand
        node = cluster.node(strategy.node)
        fitting = NodeView.fits_now if strategy.spills else NodeView.fits_total
        if node is not None and fitting(node, demand):
            return node.name
        return self.fallback.place(task, cluster, choices) if strategy.soft else None


class Composite:
    """The policy for each kind of strategy: ``default`` decides what no strategy decides. Where a
    strategy selects nodes by their labels, policies see no others.
    """

    def __init__(self, default: Policy) -> None:
        self.default = default
        self._by_kind: dict[str, Policy] = {
            "DEFAULT": default,
            "SPREAD": Spread(),
            "AFFINITY": Affinity(default),
            "LABELS": default,
            "GROUP": Hybrid(),
        }

    def place(self, task: TaskView, cluster: ClusterView, choices: Choices) -> str | None:
        """What the policy of the task's strategy says. ValueError for a kind that is none."""
        policy = self._by_kind.get(task.strategy.kind)
        if policy is None:
            raise ValueError(
                f"strategy kind {task.strategy.kind!r} of task {task.task_id.hex()} is unknown; "
                f"valid: {', '.join(self._by_kind)}"
            )
        strategy = task.strategy
        if strategy.selector or strategy.fallback or strategy.preferred:
            for part in _selected(task, cluster):
                return policy.place(task, part, choices)
            return None
        return policy.place(task, cluster, choices)

    def decider(self, strategy: Strategy) -> str:
        """The name of the policy that decides for a strategy."""
        return type(self._by_kind[strategy.kind]).__name__

    def fingerprint(self) -> str:
        """The state of those policies that have a ``fingerprint()`` of their own."""
        prints = (getattr(policy, "fingerprint", None) for policy in self._by_kind.values())
        return "/".join("" if each is None else str(each()) for each in prints)


_BY_NAME: dict[str, tuple[Callable[..., Policy], dict[str, Callable[[str], float]]]] = {
    "hybrid": (Hybrid, {"threshold": float, "top_k_fraction": float, "top_k_absolute": int}),
    "random": (Random, {}),
    "spread": (Spread, {}),
}


def policy_by_name(name: str) -> Policy:
    """The policy called ``name``, with parameters in brackets: ``hybrid[threshold=0.8]``.

    ValueError when there is no such policy or parameter, or a value is out of range.
    """
    match = re.fullmatch(r"\s*(\w+)\s*(?:\[(.*)\])?\s*", name)
    if match is None or match[1] not in _BY_NAME:
        raise ValueError(f"policy {name!r} is unknown; valid: {', '.join(_BY_NAME)}")
    make, types = _BY_NAME[match[1]]
    arguments: dict[str, float] = {}
    for item in filter(None, (part.strip() for part in (match[2] or "").split(","))):
        key, _, text = (part.strip() for part in item.partition("="))
        if key not in types:
            valid = ", ".join(types) or "none"
            raise ValueError(f"parameter {key!r} of policy {name!r} is unknown; valid: {valid}")
        if key in arguments:
            raise ValueError(f"parameter {key!r} of policy {name!r} is given twice")
        try:
            arguments[key] = types[key](text)
        except ValueError:
            kind = types[key].__name__
            raise ValueError(
                f"parameter {key!r} of policy {name!r} must be {kind}, not {text!r}"
            ) from None
    try:
        return make(**arguments)
    except ValueError as error:
        raise ValueError(f"policy {name!r}: {error}") from None


def as_policy(policy: object) -> Policy:
    """The policy that a user means by an object with ``place``, by a name, or by None (hybrid).

    TypeError for anything else; ValueError as `policy_by_name`.
    """
    if policy is None:
        return Hybrid()
    if isinstance(policy, str):
        return policy_by_name(policy)
    if isinstance(policy, type) or not isinstance(policy, Policy):
        raise TypeError(
            "policy must be a name or an object with a method place(task, cluster, choices), "
            f"not {policy!r}"
        )
    return policy


def _preferred(task: TaskView, cluster: ClusterView) -> NodeView | None:
    """The node with most bytes of the arguments; a tie goes to the one that asks, or by name."""
    most = max((size for _, size in task.locality), default=0)
    best = sorted(name for name, size in task.locality if size == most and most > 0)
    if not best or task.source in best:
        return cluster.node(task.source)
    return cluster.node(best[0]) or cluster.node(task.source)


def _wastes_gpus(node: NodeView, demand: Demand) -> bool:
    """Whether a node has GPUs, and the demand needs none."""
    return "GPU" in node.total and not gpus_in(demand)


def _selected(task: TaskView, cluster: ClusterView) -> Iterator[ClusterView]:
    """The nodes that a strategy selects by labels, those it had best first: parts with a free node,
    then parts with a node that could run the task at all.
    """
    strategy = task.strategy
    parts: list[list[NodeView]] = []
    for selector in (strategy.selector, *strategy.fallback):
        nodes = [node for node in cluster.nodes if meets(node.labels, selector)]
        if strategy.preferred:
            parts.append([node for node in nodes if meets(node.labels, strategy.preferred)])
        parts.append(nodes)
    for fitting in (NodeView.fits_now, NodeView.fits_total):
        for nodes in parts:
            if any(fitting(node, task.demand) for node in nodes):
                yield ClusterView(nodes)


def _draw(nodes: Sequence[NodeView], choices: Choices) -> str:
    names = [node.name for node in nodes]
    return names[choices.pick("place", names) if len(names) > 1 else 0]
