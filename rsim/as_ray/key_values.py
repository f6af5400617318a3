"""ray.experimental.internal_kv: a few small values that all of a session's processes share.

Decides nothing about programs. They are kept by an actor that the first use starts, which asks for
no CPU and ends with the session. Owns nothing here.
"""

from __future__ import annotations

from typing import Any

import rsim

_NAME, _NAMESPACE = "internal_kv", "rsim.as_ray"
_RESERVED = b"@namespace_"


class _Store:
    """The values by namespace and key."""

    def __init__(self) -> None:
        self._values: dict[tuple[bytes, bytes], bytes] = {}

    def get(self, namespace: bytes, key: bytes) -> bytes | None:
        return self._values.get((namespace, key))

    def put(self, namespace: bytes, key: bytes, value: bytes, overwrite: bool) -> bool:
        """Whether there was a value."""
        known = (namespace, key) in self._values
        if overwrite or not known:
            self._values[namespace, key] = value
        return known

    def keys(self, namespace: bytes, prefix: bytes) -> list[bytes]:
        return [key for each, key in self._values if each == namespace and key.startswith(prefix)]

    def forget(self, namespace: bytes, _key: bytes, keys: list[bytes]) -> int:
        """How many there were."""
        return sum(self._values.pop((namespace, key), None) is not None for key in keys)


def _ask(method: str, namespace: str | bytes | None, key: str | bytes, *rest: Any) -> Any:
    key = _encoded(key)
    if key.startswith(_RESERVED):
        raise RuntimeError(f"the key {key!r} begins with {_RESERVED!r}, which is reserved")
    store = rsim.remote(num_cpus=0)(_Store).options(
        name=_NAME, namespace=_NAMESPACE, get_if_exists=True, lifetime="detached"
    )
    call = getattr(store.remote(), method)
    return rsim.get(call.remote(_encoded(namespace or b""), key, *rest))


def _encoded(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def _internal_kv_initialized() -> bool:
    """Whether rsim runs."""
    return rsim.is_initialized()


def _internal_kv_get(key: str | bytes, *, namespace: str | bytes | None = None) -> bytes | None:
    """The value, if there is one."""
    found: bytes | None = _ask("get", namespace, key)
    return found


def _internal_kv_exists(key: str | bytes, *, namespace: str | bytes | None = None) -> bool:
    """Whether there is a value."""
    return _internal_kv_get(key, namespace=namespace) is not None


def _internal_kv_put(
    key: str | bytes,
    value: str | bytes,
    overwrite: bool = True,
    *,
    namespace: str | bytes | None = None,
) -> bool:
    """Keep a value; with `overwrite`, also in the place of another. Whether there was one."""
    return bool(_ask("put", namespace, key, _encoded(value), bool(overwrite)))


def _internal_kv_list(prefix: str | bytes, *, namespace: str | bytes | None = None) -> list[bytes]:
    """The keys that begin like this."""
    found: list[bytes] = _ask("keys", namespace, prefix)
    return found


def _internal_kv_del(
    key: str | bytes, *, del_by_prefix: bool = False, namespace: str | bytes | None = None
) -> int:
    """Forget a value, or all whose keys begin like this. How many there were."""
    keys = [_encoded(key)]
    if del_by_prefix:
        keys = _internal_kv_list(key, namespace=namespace)
    return int(_ask("forget", namespace, key, keys))
