"""How many tasks a worker is sent ahead, by how long those of their function take.

Decides the depth of pipelines: tiny tasks are many at a worker, so that it need not wait for the
next one; others, of which one could wait long behind another, are not. Must never guess: until a
function has run, a worker has one of its tasks. Owns what is known of functions.
"""

from __future__ import annotations

from rsim.core.config import NodeConfig


class Depths:
    """Of the functions whose tasks have run on a node."""

    def __init__(self, config: NodeConfig) -> None:
        self.of: dict[bytes, int] = {}
        """Most tasks of a function at one worker; 1 until the function has run."""
        self._mean_ns: dict[bytes, int] = {}
        self._tiny_ns = config.tiny_task_ns
        self.deepest = config.pipeline_depth
        self.tiniest_ns = config.tiny_task_ns // config.pipeline_depth
        """So short are tasks of which a worker may have the most."""

    def learn(self, function_id: bytes, sample_ns: int) -> int:
        """A run of a function took so long: how many of its tasks a worker may have from now on,
        no more than it does in a tiny task's time.
        """
        depth = self.of.get(function_id)
        if depth == self.deepest and sample_ns < self.tiniest_ns:
            return depth  # and a mean that would not change it
        mean_ns = self._mean_ns.get(function_id, sample_ns)
        mean_ns = self._mean_ns[function_id] = (3 * mean_ns + sample_ns) // 4
        depth = min(self.deepest, max(1, self._tiny_ns // (mean_ns + 1)))
        self.of[function_id] = depth
        return depth
