"""Runtime environments and job configurations, as far as rsim has them: environment variables.

Decides which fields are refused. Owns no state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class RuntimeEnv(dict[str, Any]):
    """A dict of the fields of a runtime environment."""

    def __init__(self, **fields: Any) -> None:
        super().__init__({name: value for name, value in fields.items() if value is not None})

    def to_dict(self) -> dict[str, Any]:
        """The fields."""
        return dict(self)

    def env_vars(self) -> dict[str, str]:
        """The environment variables."""
        return dict(self.get("env_vars") or {})


class RuntimeEnvConfig(dict[str, Any]):
    """How Ray sets up an environment: without effect, as there is nothing to set up."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(fields)


def env_vars_of(runtime_env: object) -> dict[str, str]:
    """The variables of a runtime environment.

    Raises NotImplementedError for any other field, TypeError for what is no environment.
    """
    if not runtime_env:
        return {}
    if not isinstance(runtime_env, Mapping):
        raise TypeError(f"runtime_env must be a dict or a RuntimeEnv, not {runtime_env!r}")
    for field, value in runtime_env.items():
        if field not in ("env_vars", "config") and value:
            raise NotImplementedError(
                f"runtime_env={{{field!r}: ...}} is not in rsim: tasks run in the environment of "
                "the driver"
            )
    variables = runtime_env.get("env_vars") or {}
    if not isinstance(variables, Mapping):
        raise TypeError(f"runtime_env['env_vars'] must be a dict of strings, not {variables!r}")
    for name, value in variables.items():
        if not (isinstance(name, str) and isinstance(value, str)):
            raise TypeError(f"runtime_env['env_vars'] must be of strings, not {name!r}: {value!r}")
    return dict(variables)


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
