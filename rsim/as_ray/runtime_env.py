"""What Ray has beside a runtime environment: how it is prepared, and job configurations.

Decides which fields of a job's configuration are refused. Owns no state.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

from rsim.api.runtime_env import RuntimeEnv, check_config

__all__ = ["JobConfig", "RuntimeEnv", "RuntimeEnvConfig"]


def hooked(runtime_env: Any, others: dict[str, Any]) -> Any:
    """The job's environment as the function makes it whose path RAY_RUNTIME_ENV_HOOK is, unless
    `ray.init` was told to skip that.
    """
    path = os.environ.get("RAY_RUNTIME_ENV_HOOK")
    if not path or others.get("_skip_env_hook"):
        return runtime_env
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)(runtime_env)


class RuntimeEnvConfig(dict[str, Any]):
    """How Ray sets up an environment: checked, and without effect, as there is nothing to set up.

    Raises TypeError or ValueError.
    """

    def __init__(self, **fields: Any) -> None:
        check_config(fields)
        super().__init__(fields)


class JobConfig:
    """What a driver says of its job. Raises NotImplementedError for what rsim does not have."""

    def __init__(
        self,
        *,
        ray_namespace: str | None = None,
        runtime_env: object = None,
        metadata: dict[str, str] | None = None,
        default_actor_lifetime: str = "non_detached",
        **others: Any,
    ) -> None:
        for name, value in others.items():
            if value:
                raise NotImplementedError(f"JobConfig({name}=...) of Ray is not in rsim")
        self.ray_namespace = ray_namespace
        self.runtime_env = runtime_env
        self.metadata = dict(metadata or {})
        self.set_default_actor_lifetime(default_actor_lifetime)

    def set_metadata(self, key: str, value: str) -> None:
        """Note something about the job."""
        self.metadata[key] = value

    def set_ray_namespace(self, ray_namespace: str) -> None:
        """The namespace of the job's named actors."""
        self.ray_namespace = ray_namespace

    def set_runtime_env(self, runtime_env: object, validate: bool = False) -> None:
        """The environment of the job's workers."""
        self.runtime_env = runtime_env

    def set_default_actor_lifetime(self, default_actor_lifetime: str) -> None:
        """ "non_detached"; others are not there."""
        if default_actor_lifetime not in ("detached", "non_detached"):
            raise ValueError(
                "default_actor_lifetime must be 'detached' or 'non_detached', not "
                f"{default_actor_lifetime!r}"
            )
        if default_actor_lifetime == "detached":
            raise NotImplementedError("default_actor_lifetime='detached' is not in rsim")
