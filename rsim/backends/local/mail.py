"""Messages between the machines of this process: the nodes of a session and its global scheduler.

Decides that a message is carried when the step that sent it is over, and that nothing reaches a
machine that is gone. Must never step a machine in the middle of its own step. Owns the register of
living machines and what is under way between them.
"""

from __future__ import annotations

from collections import deque

import msgspec

from rsim.core.events import Event
from rsim.runtime.host import Host


class PostOffice:
    """Carries messages between hosts, by the names of their machines."""

    def __init__(self) -> None:
        self.mail: deque[tuple[str, str, msgspec.Struct]] = deque()
        self._hosts: dict[str, Host] = {}

    def connect(self, host: Host) -> None:
        """From now on messages to this machine arrive."""
        self._hosts[host.machine.name] = host

    def disconnect(self, name: str) -> None:
        """The machine is gone, and nothing to it arrives any more."""
        del self._hosts[name]

    def carry(self) -> None:
        """A step is over: deliver what it sent, and what that leads to."""
        mail, hosts = self.mail, self._hosts
        while mail:
            source, target, message = mail.popleft()
            host = hosts.get(target)
            if host is not None:
                host.receive_message(source, message)

    def handle(self, name: str, event: Event) -> None:
        """Hand an event to a machine, unless it is gone."""
        host = self._hosts.get(name)
        if host is not None:
            host.handle(event)

    def announce(self, event: Event) -> None:
        """Hand an event to all machines."""
        for host in self._hosts.values():
            host.handle(event)

    def send_object(self, source: str, target: str, object_id: bytes, data: memoryview) -> None:
        """Copy an object from one segment to another; at once, while its bytes are sure to stay."""
        host = self._hosts.get(target)
        if host is not None:
            host.receive_object(source, object_id, data)


class Letterbox:
    """``Transport`` of one machine's ports."""

    def __init__(self, source: str, post_office: PostOffice) -> None:
        self._source = source
        self._mail = post_office.mail
        self._send_object = post_office.send_object

    def send(self, node: str, message: msgspec.Struct) -> None:
        """Send a message."""
        self._mail.append((self._source, node, message))

    def send_object(self, node: str, object_id: bytes, data: memoryview) -> None:
        """Send an object's bytes."""
        self._send_object(self._source, node, object_id, data)
