"""get, wait and cancel by the names that Ray gives to their parameters.

Decides nothing: rsim's do the work. Owns no state.
"""

from __future__ import annotations

from typing import Any

import rsim


def get(object_refs: Any, *, timeout: float | None = None) -> Any:
    """As `rsim.get`."""
    return rsim.get(object_refs, timeout=timeout)


def wait(
    ray_waitables: list[Any],
    *,
    num_returns: int = 1,
    timeout: float | None = None,
    fetch_local: bool = True,
) -> tuple[list[Any], list[Any]]:
    """As `rsim.wait`."""
    return rsim.wait(
        ray_waitables, num_returns=num_returns, timeout=timeout, fetch_local=fetch_local
    )


def cancel(ray_waitable: Any, *, force: bool = False, recursive: bool = True) -> None:
    """As `rsim.cancel`."""
    rsim.cancel(ray_waitable, force=force, recursive=recursive)
