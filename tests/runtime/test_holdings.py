"""What a process holds, and when its node has heard that it does not any more."""

from __future__ import annotations

from typing import Any

from rsim.core.events import Event, RefsReleased
from rsim.runtime.holdings import Holdings

OBJECT = b"o" * 20


class Listener:
    """A channel that asks, when it is told something, whether that has been told."""

    def __init__(self) -> None:
        self.holdings: Any = None
        self.heard: list[tuple[Event, bool]] = []

    def send(self, event: Event) -> None:
        self.heard.append((event, self.holdings.has_dropped))


def test_what_another_thread_is_about_to_tell_is_not_told_yet() -> None:
    listener = Listener()
    holdings: Any = Holdings(listener, 0)  # type: ignore[arg-type]
    listener.holdings = holdings
    ref = holdings.own_ref(OBJECT)
    assert not holdings.has_dropped
    del ref
    assert holdings.has_dropped
    holdings.flush()
    assert listener.heard == [(RefsReleased(0, (OBJECT,), (1,)), True)]
    assert not holdings.has_dropped
