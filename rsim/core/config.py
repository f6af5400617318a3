"""What a backend chooses for its nodes.

Decides the values that hold unless it does. Must never hold what users choose for a session. Owns
no state.
"""

from __future__ import annotations

import msgspec


class NodeConfig(msgspec.Struct, frozen=True):
    """Of one node."""

    prestart_workers: int = 0
    pipeline_depth: int = 1
    """Most tasks at one worker, the running one included."""
    tiny_task_ns: int = 1_000_000
    """Only functions whose runs take less on average are pipelined, and a worker is recalled after
    as long.
    """
    max_starting: int = 8
    """Workers being started at one time."""
    max_starts_failed: int = 3
    """Failed starts in a row after which waiting tasks fail."""
    placement_window: int = 64
    """Most tasks of one node that wait for the global scheduler's answer while they are queued here
    too.
    """
    store_grace_ns: int = 2_000_000_000
    """How long a full store waits for something to be unpinned before it refuses."""
    address: str = "127.0.0.1"
    hostname: str = "localhost"
    """Of its machine, to whom asks for the nodes."""
