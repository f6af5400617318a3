"""The cases of actors, and of waiting, for a library with Ray's interface.

Decides how each case is written. Must never know which library it is given. Owns no state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.measure import Case, Plan, rate, seconds

CALLS = 5_000
REFS = 1_000
ACTORS = 200


def actor_cases(api: Any) -> dict[str, Case]:
    """Calls of one actor: one at a time, and many; the same of an async actor; many actors."""

    class Plain:
        def nothing(self) -> bytes:
            return b"ok"

    class Async:
        async def nothing(self) -> bytes:
            return b"ok"

    def calls(actor_class: type, figure: str, count: int) -> Case:
        def measure(plan: Plan) -> Mapping[str, float]:
            actor = api.remote(actor_class).remote()
            return {figure: rate(_calling(api, actor, count), count, plan)}

        return measure

    def actors(_: Plan) -> Mapping[str, float]:
        return {"actors": seconds(lambda: _create_and_kill(api, api.remote(Plain)))}

    return {
        "actor": calls(Plain, "actor", 1),
        "actor_batch": calls(Plain, "actor_batch", CALLS),
        "async": calls(Async, "async", 1),
        "async_batch": calls(Async, "async_batch", CALLS),
        "actors": actors,
        "wait": lambda plan: {"wait": rate(_waiting(api), REFS, plan)},
    }


def _calling(api: Any, actor: Any, count: int) -> Callable[[], None]:
    def one() -> None:
        api.get(actor.nothing.remote())

    def many() -> None:
        api.get([actor.nothing.remote() for _ in range(count)])

    return one if count == 1 else many


def _create_and_kill(api: Any, actor_class: Any) -> None:
    actors = [actor_class.options(num_cpus=0).remote() for _ in range(ACTORS)]
    assert api.get([actor.nothing.remote() for actor in actors]) == [b"ok"] * ACTORS
    for actor in actors:
        api.kill(actor)


def _waiting(api: Any) -> Callable[[], None]:
    @api.remote  # type: ignore[untyped-decorator]
    def nothing() -> bytes:
        return b"ok"

    def one_by_one() -> None:
        refs = [nothing.remote() for _ in range(REFS)]
        while refs:
            _, refs = api.wait(refs)

    return one_by_one
