"""Task specs, written in one line."""

from __future__ import annotations

from typing import Any

import msgspec

from rsim.core.records import ActorOptions, TaskOptions, TaskSpec, TaskTemplate


def task_spec(
    task_id: bytes,
    parent_id: bytes,
    index: int,
    depth: int = 0,
    function_id: bytes = b"f" * 16,
    name: str = "f",
    payload: bytes = b"",
    deps: tuple[bytes, ...] = (),
    borrows: tuple[bytes, ...] = (),
    num_returns: int = 1,
    options: TaskOptions = TaskOptions(),  # noqa: B008  # frozen
    creation: ActorOptions | None = None,
    actor: bytes = b"",
    method: str = "",
) -> TaskSpec:
    """A spec with a template of its own."""
    template = TaskTemplate(
        parent_id, depth, function_id, name, num_returns, options, creation, actor, method
    )
    return TaskSpec(task_id, index, payload, deps, borrows, template)


def like(spec: TaskSpec, **changes: Any) -> TaskSpec:
    """The spec with some fields of its template changed."""
    template = msgspec.structs.replace(spec.template, **changes)
    return msgspec.structs.replace(spec, template=template)
