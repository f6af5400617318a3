"""What a program holds in place of the values of a remote generator.

Decides how refs of items are handed to the program: one after the other, each as soon as it is
there; and how many that are there already come with one, so that the next ones need no question.
Must never ask for more than one if the producer waits for its consumer: what is asked for counts as
consumed. Owns the position in the stream.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, cast, final

from rsim.core.ids import TASK_ID_BYTES, return_id
from rsim.runtime.refs import ObjectRef

if TYPE_CHECKING:
    from rsim.runtime.client import Client

__tracebackhide__ = True  # pytest shows the caller's line instead

T_co = TypeVar("T_co", covariant=True)

AT_ONCE = 64
"""Most items that are asked for at once, by a consumer that has shown that it wants many."""


@final
class ObjectRefGenerator(Generic[T_co]):
    """Refs of the values that a remote generator yields, each as soon as the value is there.

    Made by calling a remote generator function. Iterate over it with `for` or `async for`. When the
    generator raises, the last ref is that error. Values whose refs were not asked for go with this
    object. It belongs to one thread of one process: it cannot be pickled.
    """

    __slots__ = ("__weakref__", "_here", "_most", "_next", "_paced", "_ref", "_task")

    def __init__(self, ref: ObjectRef[None], paced: bool = False) -> None:
        # `paced`: the producer waits for its consumer
        self._ref = ref
        self._task = ref.binary()[:TASK_ID_BYTES]
        self._next = 1
        self._paced = paced
        self._most = 1
        self._here: deque[ObjectRef[T_co]] = deque()
        """Refs that have come, and that the program has not asked for yet."""

    # -- iteration -------------------------------------------------------------------------------

    def __iter__(self) -> ObjectRefGenerator[T_co]:
        return self

    def __next__(self) -> ObjectRef[T_co]:
        """The next ref; waits until its value is there. StopIteration when there are no more."""
        if not self._here and not self._came(
            self._client.consumer.take(self.next_id(), self._most)
        ):
            raise StopIteration
        self._next += 1
        return self._here.popleft()

    def __aiter__(self) -> ObjectRefGenerator[T_co]:
        return self

    async def __anext__(self) -> ObjectRef[T_co]:
        """The next ref, for `async for`. StopAsyncIteration when there are no more."""
        if not self._here and not await self._coming():
            raise StopAsyncIteration
        self._next += 1
        return self._here.popleft()

    async def _coming(self) -> bool:
        """Wait for refs. False: there are no more."""
        from asyncio import CancelledError

        from rsim.runtime import futures

        future = futures.items_future(self._client, self.next_id(), self._most)
        try:
            return self._came(await future)
        except CancelledError:
            if future.done() and not future.cancelled() and not future.exception():
                self._came(future.result())  # they had come already: for the next question
            raise

    def _came(self, refs: list[ObjectRef[T_co]]) -> bool:
        """Take in what has come; False: nothing did."""
        self._here.extend(refs)
        if not self._paced and self._most < AT_ONCE:
            self._most *= 2
        return bool(refs)

    # -- questions -------------------------------------------------------------------------------

    def completed(self) -> ObjectRef[None]:
        """A ref that is ready when the generator has ended: of None, or of the error if the system
        failed it (it was cancelled, its worker died). What the generator raises is an item.
        """
        return self._ref

    def next_ready(self) -> bool:
        """Whether there is a next ref at once."""
        return bool(self._here) or self._client.consumer.has(self.next_id()) is True

    def is_finished(self) -> bool:
        """Whether the generator has ended and all its refs were asked for."""
        return not self._here and self._client.consumer.has(self.next_id()) is None

    def task_id(self) -> str:
        """Id of the generator's task, as 32 hex digits."""
        return self._task.hex()

    def next_id(self) -> bytes:
        """The id that the next ref has, if there is one."""
        return return_id(self._task, self._next)

    @property
    def _client(self) -> Client:
        return cast("Client", self._ref._counter)

    # -- what generators do and this does not ------------------------------------------------------

    def _refuse(self, name: str) -> NoReturn:
        raise NotImplementedError(
            f"{name}() does not reach a remote generator; rsim.cancel() stops it"
        )

    def send(self, value: object) -> NoReturn:
        """Raises NotImplementedError."""
        self._refuse("send")

    def throw(self, *error: object) -> NoReturn:
        """Raises NotImplementedError."""
        self._refuse("throw")

    def close(self) -> NoReturn:
        """Raises NotImplementedError."""
        self._refuse("close")

    async def asend(self, value: object) -> NoReturn:
        """Raises NotImplementedError."""
        self._refuse("asend")

    async def athrow(self, *error: object) -> NoReturn:
        """Raises NotImplementedError."""
        self._refuse("athrow")

    async def aclose(self) -> NoReturn:
        """Raises NotImplementedError."""
        self._refuse("aclose")

    def __repr__(self) -> str:
        return f"ObjectRefGenerator({self._task.hex()})"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{self!r} cannot be pickled, passed to a task or returned from one: "
            "pass on its refs instead, as in list(generator)"
        )


@final
class DynamicObjectRefGenerator:
    """The refs of all that a generator has yielded: the value of the one ref that a call with
    `num_returns="dynamic"` returns.
    """

    __slots__ = ("_refs",)

    def __init__(self, refs: list[ObjectRef[Any]]) -> None:
        self._refs = refs

    def __iter__(self) -> Iterator[ObjectRef[Any]]:
        return iter(self._refs)

    def __len__(self) -> int:
        return len(self._refs)

    def __repr__(self) -> str:
        return f"DynamicObjectRefGenerator({self._refs!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return DynamicObjectRefGenerator, (self._refs,)
