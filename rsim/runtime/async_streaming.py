"""Runs the generators of an actor that uses asyncio, on its event loop.

Decides when other calls have their turn: after every item. Must never block the loop to wait for a
consumer. Owns no state. Apart from ``runtime.streaming``, as other workers need no asyncio.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from types import AsyncGeneratorType, GeneratorType
from typing import Any

from rsim.core.records import STREAMING
from rsim.runtime.client import Client
from rsim.runtime.executor import Executor
from rsim.runtime.futures import answer_future
from rsim.runtime.streaming import Declared, Kept, Production, collect
from rsim.runtime.wire import RunTask

GENERATORS = (AsyncGeneratorType, GeneratorType)


async def drain(executor: Executor, client: Client, task: RunTask, values: Any) -> Any:
    """Run a generator, an ``async`` one or not. What to report is as if the call had returned
    this.
    """
    if task.num_returns == STREAMING:
        production = executor.production(task)
        try:
            await _run(client, production, _asynchronous(values))
        except Exception as error:
            return executor.broken(production, error)
        return None
    if type(values) is GeneratorType:
        return collect(values, executor.collected(task))
    return await _collect(values, executor.collected(task))


async def _run(client: Client, production: Production, values: AsyncGenerator[Any, None]) -> None:
    try:
        async for value in values:
            production.send(value)
            del value
            if production.must_wait:
                request = production.request()
                production.resume(await answer_future(client, request))
            else:
                await asyncio.sleep(0)
    finally:
        await values.aclose()


async def _asynchronous(values: Any) -> AsyncGenerator[Any, None]:
    """The values of a generator of either kind."""
    if isinstance(values, Generator):
        try:
            for value in values:
                yield value
        finally:
            values.close()
        return
    try:
        async for value in values:
            yield value
    finally:
        await values.aclose()


async def _collect(values: AsyncGenerator[Any, None], collected: Declared | Kept) -> Any:
    """As ``collect``."""
    try:
        async for value in values:
            if not collected.add(value):
                break
    except Exception as error:
        collected.fail(error)
    except BaseException:
        collected.drop()
        raise
    finally:
        await values.aclose()
    return collected.end()
