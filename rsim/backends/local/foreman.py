"""The way from the nodes of a session to the guardian that runs their workers, and back.

Decides to whom the guardian's news go, and that a guardian which is gone is replaced when the next
worker is wanted. Must never block. Owns the numbers of the nodes.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Protocol

from rsim.backends.local.reactor import PROCESSES, Reactor
from rsim.backends.local.warden import Warden


class Crew(Protocol):
    """The workers of one node, as far as they are told of."""

    def began(self, client: int, pid: int) -> None:
        """A worker has a process."""

    def ended(self, client: int, reason: str, starved: bool) -> None:
        """A worker's process is gone; ``starved``: the system has killed it for want of memory."""

    def memory_short(self, used_bytes: int, limit_bytes: int) -> None:
        """The machine runs out of memory."""

    def all_ended(self, reason: str) -> None:
        """So are all of them."""


class Foreman:
    """Speaks for all nodes with one guardian; the lock is held in every call."""

    def __init__(self, reactor: Reactor, warden: Warden) -> None:
        self._reactor = reactor
        self._warden = warden
        self._crews: dict[int, Crew] = {}
        self._ending: dict[int, threading.Event] = {}
        self._watch()

    def engage(self, node: int, crew: Crew) -> None:
        """From now on this node may have workers."""
        self._crews[node] = crew

    def start(self, node: int, client: int, fds: Sequence[int]) -> None:
        """Have a worker started, with these fds. OSError when there can be no guardian."""
        if not self._warden.alive:
            self._warden.start()
            self._watch()
        self._warden.send(f"start {node} {client}", fds)

    def kill(self, node: int, client: int) -> None:
        """Have a worker killed."""
        self._warden.send(f"kill {node} {client}")

    def dismiss(self, node: int) -> threading.Event:
        """Have all workers of a node killed, and hear no more of them. Set when they are gone."""
        del self._crews[node]
        gone = threading.Event()
        if self._warden.alive:
            self._ending[node] = gone
            self._warden.send(f"end {node}")
        else:
            gone.set()
        return gone

    def close(self) -> None:
        """End the workers of all nodes, and the guardian."""
        self._reactor.remove(self._warden.fileno())
        self._warden.close()

    def abandon(self) -> None:
        """In a forked child: close the copy of the parent's socket."""
        self._warden.abandon()

    def _watch(self) -> None:
        self._reactor.add(self._warden.fileno(), lambda _: self._hear(), PROCESSES)

    def _hear(self) -> None:
        for message in self._warden.receive():
            kind, number, *rest = message.split(" ", 3)
            if kind == "memory":
                for each in list(self._crews.values()):
                    each.memory_short(int(number), int(rest[0]))
                continue
            node = int(number)
            crew = self._crews.get(node)
            if kind == "ended":
                self._ending.pop(node).set()
            elif crew is not None and kind == "started":
                crew.began(int(rest[0]), int(rest[1]))
            elif crew is not None:
                crew.ended(int(rest[0]), rest[1], kind == "starved")
        if not self._warden.alive:
            self._reactor.remove(self._warden.fileno())
            for gone in self._ending.values():  # its workers died with it
                gone.set()
            self._ending.clear()
            for crew in list(self._crews.values()):
                crew.all_ended("killed together with the process that started it")
