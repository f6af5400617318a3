"""joblib's backend "ray".

Decides how many jobs there are where that is not said: as many as the cluster has CPUs. Must never
be imported without joblib, which is optional. Owns no state.
"""

from __future__ import annotations

from typing import Any

import rsim
from rsim.as_ray import session
from rsim.util.joblib import RsimBackend


class RayBackend(RsimBackend):
    """The backend "ray". ray_remote_args: options of the actors."""

    def __init__(self, ray_remote_args: dict[str, Any] | None = None, **options: Any) -> None:
        super().__init__(actor_options=ray_remote_args, **options)

    def _cpus(self) -> int:
        """The CPUs of the cluster, which is started if none runs."""
        if not rsim.is_initialized():
            session.init()
        return max(1, int(rsim.cluster_resources().get("CPU", 0)))
