"""Values, calls and functions to bytes and back.

Decides what a value looks like at rest and on its way: a pickle stream of protocol 5, and beside
it the big buffers (numpy arrays), which are copied once, into the blob, and never again: what is
loaded from a blob looks into it, read-only. Also decides which refs of a call are dependencies.
Never keeps a value, never calls a node, owns no state.

A blob without buffers is the pickle stream itself, whose first byte is 0x80. One with buffers:

    1 | pad | number of buffers (u32) | size of the stream (u64) | sizes of the buffers (u64 each)
    stream
    pad to 64 bytes, buffer; for each buffer
"""

from __future__ import annotations

import io
import pickle
import struct
import warnings
from abc import ABCMeta
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType, NoneType
from typing import Any

import cloudpickle
import msgspec

from rsim.exceptions import ForeignRefError, UnserializableError
from rsim.runtime import refs, type_names
from rsim.runtime.refs import ObjectRef, check_known, recipe
from rsim.runtime.unpicklable import describe, find_unpicklable

__tracebackhide__ = True  # pytest shows the caller's line instead

FUNCTION_WARN_BYTES = 10**7
FUNCTION_LIMIT_BYTES = 10**8

_PROTOCOL = 5
_ALIGNMENT = 64
_BUFFERED = 1  # first byte of a blob with buffers; a pickle stream begins with 0x80
_HEADER = struct.Struct("<BxxxIQ")
_OUT_OF_BAND_BYTES = 1 << 16  # a longer bytes object is worth the detour around the stream
_PLAIN_ITEMS = 64  # look at so many items before giving up on the fast path

_ATOMS = frozenset({int, float, bool, str, NoneType, complex, bytes})

_all_atoms = _ATOMS.issuperset
_dumps = pickle.dumps
_loads = pickle.loads


class Payload(msgspec.Struct, frozen=True):
    """A serialised value whose big buffers are still where they were: pack it before they change.

    `contained` are the ids of the refs inside the value, each once, in order.
    """

    data: bytes
    buffers: tuple[memoryview, ...] = ()
    contained: tuple[bytes, ...] = ()

    @property
    def total_bytes(self) -> int:
        """Size of the blob it packs to."""
        return packed_size(self)


class CallPayload(msgspec.Struct, frozen=True):
    """The serialised arguments of a call; `deps` are the ids of the refs given as arguments."""

    payload: Payload
    deps: tuple[bytes, ...] = ()


def serialize(value: Any, what: str = "value") -> Payload:
    """Serialise a value.

    `what` begins the path in the message of the UnserializableError raised when a part of the
    value cannot be pickled: a name ("value"), or a phrase ("the result of f()"). Raises
    ForeignRefError for a ref in it that is not of this session.
    """
    kind = type(value)
    if kind is int or kind is str or kind is NoneType or kind is float or kind is bool:
        return Payload(_dumps(value, _PROTOCOL))
    if (kind is tuple or kind is list) and _all_atoms(map(type, value)):
        return Payload(_dumps(value, _PROTOCOL))
    if kind is bytes or kind is bytearray:
        if len(value) >= _OUT_OF_BAND_BYTES:
            return _dump_plain(_OutOfBand(value), {})
        return Payload(_dumps(value, _PROTOCOL))
    contained: dict[bytes, None] = {}
    if _is_plain((value,), contained):
        return _dump_plain(value, contained)
    try:
        return _dump_any(value)
    except (MemoryError, ForeignRefError):
        raise
    except Exception as error:
        is_name = what.isidentifier()
        path, prefix = (what, "") if is_name else ("value", f"{what}: ")
        raise _explained(value, path, prefix, error) from error


def _is_plain(items: Sequence[Any], contained: dict[bytes, None]) -> bool:
    """Whether C pickle alone does right by the items: a few atoms, refs and arrays, in builtins.

    The refs met are added to `contained`.
    """
    queue: list[Any] = list(items)
    for item in queue:  # grows while it is walked; a cycle makes it grow beyond the limit
        kind = type(item)
        if kind in _ATOMS:
            continue
        if kind is ObjectRef:
            check_known(item)
            contained[item.binary()] = None
        elif kind is tuple or kind is list:
            queue += item
        elif kind is dict:
            queue += item
            queue += item.values()
        elif kind.__name__ != "ndarray" or kind.__module__ != "numpy" or item.dtype.hasobject:
            return False
        if len(queue) > _PLAIN_ITEMS:
            return False
    return True


_REFS: dict[type, Callable[[Any], Any]] = {ObjectRef: recipe}
"""How C pickle takes refs apart."""


def _dump_plain(value: object, contained: dict[bytes, None]) -> Payload:
    buffers: list[memoryview] = []
    if not contained:
        data = _dumps(value, _PROTOCOL, buffer_callback=_collector(buffers))
        return Payload(data, tuple(buffers))
    file = io.BytesIO()
    pickler = pickle.Pickler(file, _PROTOCOL, buffer_callback=_collector(buffers))
    pickler.dispatch_table = _REFS
    pickler.dump(value)
    return Payload(file.getvalue(), tuple(buffers), tuple(contained))


def _dump_any(value: object) -> Payload:
    buffers: list[memoryview] = []
    file = io.BytesIO()
    pickler = _Pickler(file, _PROTOCOL, buffer_callback=_collector(buffers))
    pickler.contained = {}
    pickler.dump(value)
    return Payload(file.getvalue(), tuple(buffers), tuple(pickler.contained))


def _collector(buffers: list[memoryview]) -> Callable[[pickle.PickleBuffer], None]:
    return lambda buffer: buffers.append(buffer.raw())  # flat: pickle lets only contiguous pass


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """cloudpickle's, noting the refs it meets."""

    contained: dict[bytes, None]

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is ObjectRef:
            check_known(obj)
            self.contained[obj.binary()] = None
            return recipe(obj)
        reduced = super().reducer_override(obj)
        better = _BETTER.get(type(obj))
        return reduced if better is None else better(obj, reduced)


def _with_slots(kind: type, reduced: Any) -> Any:
    """What cloudpickle makes of a class, with its slots. It leaves them out, so that an object that
    has been elsewhere comes back with a `__dict__`, which its own class cannot take.
    """
    if type(reduced) is tuple and "__slots__" in vars(kind) and not issubclass(kind, tuple):
        reduced[1][_NAMESPACE]["__slots__"] = kind.__slots__  # type: ignore[attr-defined]
    return reduced


_BETTER: dict[type, Callable[[Any, Any], Any]] = {
    type: _with_slots,
    ABCMeta: _with_slots,
    **dict.fromkeys(type_names.KINDS, type_names.reduce_name),
}
"""What is better than cloudpickle's way with objects of a type."""


class _OutOfBand:
    """Pickles as the bytes or bytearray it wraps, but beside the stream: one copy less."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self._value), (pickle.PickleBuffer(self._value),)


def _explained(value: object, path: str, prefix: str, error: Exception) -> UnserializableError:
    """The error for a value that did not pickle, naming the parts at fault."""
    if culprits := find_unpicklable(value, path):
        return UnserializableError(f"{prefix}{describe(culprits)}", part=culprits[0].path)
    # it pickles when tried again, so there is only the first error to go by
    return UnserializableError(f"{prefix}{path} cannot be pickled: {error}", part=path)


# Blobs


def _layout(payload: Payload) -> tuple[bytes, list[int], int]:
    """Header, offsets of the buffers, size of the whole."""
    sizes = [buffer.nbytes for buffer in payload.buffers]
    header = _HEADER.pack(_BUFFERED, len(sizes), len(payload.data))
    header += struct.pack(f"<{len(sizes)}Q", *sizes)
    offsets, end = _offsets(len(header) + len(payload.data), sizes)
    return header, offsets, end


def _offsets(end: int, sizes: Sequence[int]) -> tuple[list[int], int]:
    offsets = []
    for size in sizes:
        start = -(-end // _ALIGNMENT) * _ALIGNMENT
        offsets.append(start)
        end = start + size
    return offsets, end


def packed_size(payload: Payload) -> int:
    """Size in bytes of the payload's blob."""
    return _layout(payload)[2] if payload.buffers else len(payload.data)


def pack(payload: Payload) -> bytes:
    """The payload's blob; nothing is copied when it has no buffers."""
    if not payload.buffers:
        return payload.data
    header, offsets, _ = _layout(payload)
    pieces: list[bytes | memoryview] = [header, payload.data]
    end = len(header) + len(payload.data)
    for offset, buffer in zip(offsets, payload.buffers, strict=True):
        pieces += bytes(offset - end), buffer
        end = offset + buffer.nbytes
    return b"".join(pieces)


def pack_into(payload: Payload, target: memoryview) -> None:
    """Write the payload's blob to the start of `target` (bytes), copying each buffer once.

    For aligned arrays the target should begin at a multiple of 64 bytes.
    """
    if not payload.buffers:
        target[: len(payload.data)] = payload.data
        return
    header, offsets, _ = _layout(payload)
    target[: len(header)] = header
    target[len(header) : len(header) + len(payload.data)] = payload.data
    for offset, buffer in zip(offsets, payload.buffers, strict=True):
        target[offset : offset + buffer.nbytes] = buffer


def deserialize(blob: bytes | memoryview) -> Any:
    """The value of a blob, which may be longer than what was packed into it.

    Arrays are read-only views into the blob, and keep it alive.
    """
    if blob[0] != _BUFFERED:
        return _loads(blob)
    view = memoryview(blob).toreadonly()
    _, count, data_bytes = _HEADER.unpack_from(view)
    sizes = struct.unpack_from(f"<{count}Q", view, _HEADER.size)
    start = _HEADER.size + 8 * count
    offsets, _ = _offsets(start + data_bytes, sizes)
    buffers = [view[offset : offset + size] for offset, size in zip(offsets, sizes, strict=True)]
    return _loads(view[start : start + data_bytes], buffers=buffers)


# Calls. With refs or keywords among the arguments a list of
#     positional arguments (list), keyword arguments (dict), [place, index in deps, place ...]
# where None stands in for the refs; else just the tuple of positional arguments.

NO_ARGUMENTS = _dumps((), _PROTOCOL)
"""A call without arguments, packed."""


def serialize_call(
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    what: str = "the call",
    names: Sequence[str] = (),
) -> CallPayload:
    """Serialise the arguments of a call; refs given as arguments become its `deps`.

    `what` ("f()") and `names`, those of the positional parameters, are for the message of the
    UnserializableError raised when an argument cannot be pickled.
    """
    if not kwargs and ObjectRef not in map(type, args):
        return CallPayload(_serialize_arguments(args, args, kwargs, what, names))
    positional, keywords = list(args), dict(kwargs)
    places: list[int | str] = []
    deps: dict[bytes, int] = {}
    for index, value in enumerate(args):
        if type(value) is ObjectRef:
            positional[index] = None
            places += index, deps.setdefault(value.binary(), len(deps))
    for name, value in kwargs.items():
        if type(value) is ObjectRef:
            keywords[name] = None
            places += name, deps.setdefault(value.binary(), len(deps))
    packed = [positional, keywords, places]
    return CallPayload(_serialize_arguments(packed, args, kwargs, what, names), tuple(deps))


def _serialize_arguments(
    packed: object,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    what: str,
    names: Sequence[str],
) -> Payload:
    try:
        return serialize(packed)
    except UnserializableError as error:
        cause = error.__cause__
    labels = [repr(name) for name in names[: len(args)]]
    labels += [str(position) for position in range(len(labels) + 1, len(args) + 1)]
    labels += map(repr, kwargs)
    for label, value in zip(labels, (*args, *kwargs.values()), strict=True):
        if culprits := find_unpicklable(value, "value"):
            message = f"Could not serialize the argument {label} of {what}: {describe(culprits)}"
            raise UnserializableError(message, part=culprits[0].path) from cause
    raise UnserializableError(f"arguments of {what} cannot be pickled: {cause}") from cause


def deserialize_call(
    blob: bytes | memoryview, dep_values: Sequence[object] = ()
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """(args, kwargs) of a serialised call, given the values of its deps in their order."""
    call = deserialize(blob)
    if type(call) is tuple:
        return call, {}
    args, kwargs, places = call
    slots = iter(places)
    for place, index in zip(slots, slots, strict=True):
        values = args if type(place) is int else kwargs
        values[place] = dep_values[index]
    return tuple(args), kwargs


# Functions


class _ExportPickler(cloudpickle.Pickler):  # type: ignore[misc]
    """cloudpickle's, noting the refs it meets, less the random mark by which it knows a class
    again: whoever loads the class that is exported gets one of its own. So its methods go by value,
    too, although its module has them: under its name is an actor class, which passes them on.
    """

    exported: object
    captured: dict[bytes, ObjectRef[Any]]

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is ObjectRef:
            self.captured[obj.binary()] = obj
            return recipe(obj)
        reduced = super().reducer_override(obj)
        if reduced is NotImplemented and type(obj) is FunctionType and self._is_method(obj):
            return self._dynamic_function_reduce(obj)
        if (better := _BETTER.get(type(obj))) is not None:
            reduced = better(obj, reduced)
        if obj is not self.exported or not isinstance(obj, type) or type(reduced) is not tuple:
            return reduced
        make, arguments, *rest = reduced
        return (
            make,
            tuple(None if index == _MARK else each for index, each in enumerate(arguments)),
            *rest,
        )

    def _is_method(self, function: FunctionType) -> bool:
        exported = self.exported
        return (
            isinstance(exported, type)
            and function.__module__ == exported.__module__
            and function.__qualname__.startswith(f"{exported.__qualname__}.")
        )


_NAMESPACE, _MARK = 3, 4
"""Where these are among the arguments by which cloudpickle makes a class."""


def serialize_function(
    function: Callable[..., Any], captured: dict[bytes, ObjectRef[Any]] | None = None
) -> bytes:
    """Pickle a function or class: by value if of the script, with all that it captures. The refs
    among that are added to `captured`.

    Raises UnserializableError naming what is captured and cannot be pickled, and ValueError
    above FUNCTION_LIMIT_BYTES; warns above FUNCTION_WARN_BYTES.
    """
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    captured = {} if captured is None else captured
    try:
        file = io.BytesIO()
        pickler = _ExportPickler(file, _PROTOCOL)
        pickler.exported = function
        pickler.captured = captured
        pickler.dump(function)
        blob = file.getvalue()
    except MemoryError:
        raise
    except Exception as error:
        kind = "actor class" if isinstance(function, type) else "function"
        prefix = f"Could not serialize the {kind}: "
        raise _explained(function, f"{name}()", prefix, error) from error
    for ref in captured.values():
        refs.may_leave(ref)
    if len(blob) > FUNCTION_WARN_BYTES:
        what = f"The remote function {name}"
        if isinstance(function, type):
            what = f"The actor {function.__name__}"
        message = (
            f"{len(blob):,} bytes when pickled, because of large values it captures; pass them as "
            "arguments, or put() them and pass the refs"
        )
        if len(blob) > FUNCTION_LIMIT_BYTES:
            limit = f"(the limit is {FUNCTION_LIMIT_BYTES:,} bytes)"
            raise ValueError(f"{what} is too large: {message} {limit}")
        warnings.warn(f"{what} is {message}", stacklevel=2)
    return blob


def deserialize_function(blob: bytes) -> Callable[..., Any]:
    """The function of serialize_function()."""
    function: Callable[..., Any] = _loads(blob)
    return function
