"""The bundles of placement groups that are set apart on a node.

Decides whether a node can spare the resources of bundles, and what ends with a group. Must never
give a bundle's resources back while a worker that used them may still be alive. Owns the bundles
of this node, from their reservation until their resources are free again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from rsim.core import messages as m
from rsim.core.bundles import (
    names_in,
    reservation_key,
    resources_of,
    sum_of,
    uses,
)
from rsim.core.devices import Grant
from rsim.core.effects import ReplyGroups
from rsim.core.events import GroupsRequested
from rsim.core.records import Demand
from rsim.core.work import ACTOR, Worker

if TYPE_CHECKING:
    from rsim.core.node import Node


class _Bundle(msgspec.Struct, gc=False, eq=False):
    group_id: bytes
    index: int
    op: int
    demand: Demand
    grant: Grant
    committed: bool = False


class Reserved:
    """The part of a node that knows placement groups."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._bundles: dict[bytes, list[_Bundle]] = {}
        """By group."""
        self._last_op = 0
        self._ending: dict[bytes, dict[int, None]] = {}
        """Groups that are no more, and the workers of theirs that are not gone yet."""

    # -- clients -----------------------------------------------------------------------------------

    def requested(self, event: GroupsRequested) -> None:
        """A client of this node asks something about groups: the global scheduler knows."""
        question = m.GroupQuestion(event.client, event.op, event.request)
        self._node.peers.watched = True
        self._node.peers.borrowing.send(m.GLOBAL, question)

    def answered(self, message: m.GroupAnswer) -> None:
        """It has answered."""
        reply = ReplyGroups(message.client, message.op, message.groups, message.error)
        self._node.step.out.append(reply)

    # -- reservations ------------------------------------------------------------------------------

    def reserve(self, message: m.BundleReservation) -> None:
        """Set the bundles' resources apart, if all of them are free."""
        node, group_id, op = self._node, message.group_id, message.op
        node.peers.watched = True
        if op <= self._last_op:
            return
        self._last_op = op
        pool = node.scheduler.pool
        taken: list[_Bundle] = []
        for index, demand in message.bundles:
            if not pool.fits_now(demand):
                break
            taken.append(_Bundle(group_id, index, op, demand, pool.take(demand)))
        reserved = len(taken) == len(message.bundles)
        if reserved:
            self._bundles.setdefault(group_id, []).extend(taken)
            node.peers.bundles_accepted(reservation_key(group_id, op))
        else:
            for bundle in taken:
                pool.give(bundle.demand, bundle.grant)
        node.peers.borrowing.send(m.GLOBAL, m.BundleReply(group_id, op, reserved))

    def commit(self, message: m.BundleCommit) -> None:
        """Tasks may use the bundles of a reservation."""
        node = self._node
        for bundle in self._of(message.group_id, message.op):
            if not bundle.committed:
                bundle.committed = True
                self._open(bundle)
        node.places_changed()
        node.scheduler.dispatch()

    def _open(self, bundle: _Bundle) -> None:
        devices = {}
        for kind in dict.fromkeys(kind for kind, _, _ in bundle.grant):
            names = names_in(kind, bundle.group_id, bundle.index)
            devices.update(dict.fromkeys(names, tuple(g for g in bundle.grant if g[0] == kind)))
        more = resources_of(bundle.demand, bundle.group_id, bundle.index)
        self._node.scheduler.pool.add(more, devices)

    def give_back(self, message: m.BundleReturn) -> None:
        """A reservation is not wanted; without a number: the group was removed."""
        group_id = message.group_id
        if message.op:
            self._free(group_id, message.op)
        else:
            self._end(group_id)

    def _of(self, group_id: bytes, op: int = 0) -> list[_Bundle]:
        """The bundles of a group, or of one reservation for it."""
        return [each for each in self._bundles.get(group_id, ()) if op in (0, each.op)]

    def _free(self, group_id: bytes, op: int = 0) -> None:
        """Those bundles are not needed any more."""
        node, bundles = self._node, self._of(group_id, op)
        kept = [each for each in self._bundles.pop(group_id, ()) if each not in bundles]
        if kept:
            self._bundles[group_id] = kept
        for bundle in bundles:
            node.scheduler.pool.give(bundle.demand, bundle.grant)
        if bundles:
            node.scheduler.dispatch()

    # -- the end of a group ------------------------------------------------------------------------

    def _end(self, group_id: bytes) -> None:
        """Nothing more starts in the group, and who runs in it is killed."""
        node = self._node
        scheduler = node.scheduler
        given = (resources_of(each.demand, group_id, each.index) for each in self._of(group_id))
        for name, _ in sum_of(given):
            scheduler.pool.drop(name)
        node.places_changed()
        tenants = [worker for worker in scheduler.workers.values() if uses(worker.demand, group_id)]
        self._ending[group_id] = {worker.client: None for worker in tenants}
        for worker in tenants:
            self._evict(worker)
        self._sweep(group_id)
        if not tenants:
            del self._ending[group_id]
            self._free(group_id)

    def _evict(self, worker: Worker) -> None:
        """From now on the bundle itself stands for what the worker had."""
        if worker.state == ACTOR:
            self._node.actors.condemn(worker.client, "its placement group was removed")
        self._node.scheduler.doom(worker)

    def _sweep(self, group_id: bytes) -> None:
        """What is queued for the group cannot run here: see what is to become of it."""
        node = self._node
        queued = node.scheduler.ready.drop(lambda demand: uses(demand, group_id))
        for task in queued:
            if task.requested:
                node.peers.withdraw_request(task)
        for task in queued:
            node.place(task)

    def worker_gone(self, client: int) -> None:
        """A worker has exited: perhaps the last one of a group that is no more."""
        for group_id, tenants in list(self._ending.items()):
            if client not in tenants:
                continue
            del tenants[client]
            self._sweep(group_id)
            if not tenants:
                del self._ending[group_id]
                self._free(group_id)

    # -- checks ------------------------------------------------------------------------------------

    def demands(self) -> list[Demand]:
        """What is set apart."""
        return [bundle.demand for bundle in self._all()]

    def _all(self) -> Iterator[_Bundle]:
        for bundles in self._bundles.values():
            yield from bundles

    def check(self) -> None:
        """Assert that the pool has the resources of the bundles in use, and no other such ones."""
        expected: dict[str, int] = {}
        for bundle in self._all():
            if bundle.committed and bundle.group_id not in self._ending:
                named = resources_of(bundle.demand, bundle.group_id, bundle.index)
                for name, units in named:
                    expected[name] = expected.get(name, 0) + units
        total = self._node.scheduler.pool.total
        assert expected == {name: units for name, units in total if "_group_" in name}
