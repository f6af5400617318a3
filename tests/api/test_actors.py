"""Actor classes and handles, without a node: options, and what the core is told."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

import rsim
from rsim.core import events
from rsim.core.records import ActorOptions, Strategy, TaskOptions


class Plain:
    """A plain class."""

    def __init__(self, a: int, b: int = 0) -> None:
        pass

    def run(self, x: int, *, y: int = 0) -> None:
        pass

    def stream(self) -> Any:
        yield 1


class Wrong:
    """Its method is no generator."""

    @rsim.method(_generator_backpressure_num_objects=1)
    def run(self) -> None:
        pass


Actor = rsim.remote(Plain)


def test_it_describes_its_class() -> None:
    assert (Actor.__name__, Actor.__doc__) == ("Plain", "A plain class.")
    assert Actor._cls is Plain
    assert rsim.remote(num_cpus=1)(Plain).options(num_cpus=2)._cls is Plain


def test_what_the_core_is_told(session: rsim.Session) -> None:
    Actor.remote(1, b=2)
    actor = Actor.options(num_cpus=2, max_restarts=3, max_task_retries=4).remote(1)
    actor.run.remote(1)
    actor.run.options(max_task_retries=-1, num_returns=2, name="named").remote(1, y=3)
    plain, rich, call, changed = session.specs
    assert plain.creation == ActorOptions(0, ())
    assert plain.options == TaskOptions((("CPU", 10_000),), 0, strategy=Strategy())
    assert rich.creation == ActorOptions(3, (("CPU", 20_000),), patient=True)
    assert (rich.options.demand, rich.options.max_retries) == ((("CPU", 20_000),), 3)
    assert call.actor == rich.task_id + bytes(4) == changed.actor
    assert (call.name, call.method, call.num_returns) == ("Plain.run", "run", 1)
    assert (call.options.demand, call.options.max_retries) == ((), 4)
    assert (changed.name, changed.num_returns, changed.options.max_retries) == ("named", 2, -1)
    rsim.kill(actor, no_restart=False)
    assert session.channel.sent[-1] == events.ActorKilled(0, call.actor, False)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"max_retries": 1}, ValueError, "max_retries is no option of an actor class; valid are"),
        ({"max_restarts": -2}, ValueError, "max_restarts must be -1 or more"),
        ({"max_task_retries": 1.5}, TypeError, "max_task_retries must be an int"),
        ({"max_pending_calls": 0}, ValueError, "max_pending_calls must be -1, for no limit, or"),
        ({"_actor_generator_backpressure_num_objects": 2}, NotImplementedError, "valid: -1"),
        ({"max_concurrency": 0}, ValueError, "max_concurrency must be 1 or more"),
        ({"allow_out_of_order_execution": 1}, TypeError, "must be True or False"),
        (
            {"max_concurrency": 2, "allow_out_of_order_execution": False},
            ValueError,
            "allow_out_of_order_execution cannot be False for an actor with max_concurrency > 1",
        ),
        ({"name": ""}, ValueError, "name cannot be an empty string"),
        ({"lifetime": "long"}, ValueError, "lifetime must be 'detached'"),
    ],
)
def test_bad_options(given: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        rsim.remote(**given)(Plain)
    with pytest.raises(error, match=message):
        Actor.options(**given)


def test_bad_options_of_functions_and_methods(session: rsim.Session) -> None:
    with pytest.raises(ValueError, match="max_restarts is no option of a remote function"):
        rsim.remote(max_restarts=1)(abs)
    with pytest.raises(TypeError, match="options by keyword"):
        rsim.method()
    with pytest.raises(ValueError, match="num_cpus is no option of an actor's method"):
        rsim.method(num_cpus=1)
    with pytest.raises(ValueError, match="max_retries is no option of an actor's method"):
        Actor.remote(1).run.options(max_retries=1)


def test_wrong_calls_are_not_submitted(session: rsim.Session) -> None:
    with pytest.raises(TypeError, match=r"^Plain\(a, b=\.\.\.\): missing a required argument: 'a'"):
        Actor.remote()
    actor = Actor.remote(1)
    with pytest.raises(TypeError, match=r"^Plain\.run\(x, \*, y=\.\.\.\): "):
        actor.run.remote(1, 2)
    with pytest.raises(ValueError, match=r"for generator functions, and Plain\.run has no"):
        actor.run.options(_generator_backpressure_num_objects=1)
    with pytest.raises(ValueError, match=r"for generator functions, and Wrong\.run has no"):
        rsim.remote(Wrong)
    with pytest.raises(TypeError, match=r"^Plain\.stream\(\): "):
        actor.stream.remote(1)
    assert type(actor.stream.remote()) is rsim.ObjectRefGenerator
    assert len(actor.stream.options(num_returns=2).remote()) == 2
    with pytest.raises(TypeError, match="is remote already"):
        rsim.remote(Actor)
    assert len(session.specs) == 3


def test_a_handle_of_an_earlier_session(session: rsim.Session) -> None:
    actor = Actor.remote(1)
    session.shutdown()
    with rsim.init() as second:
        with pytest.raises(ValueError, match="an earlier session"):
            actor.run.remote(1)
        with pytest.raises(ValueError, match="an earlier session"):
            rsim.kill(actor)
        Actor.remote(1)
        assert len(second.specs) == 1


def test_async_methods_make_the_class_asynchronous(session: rsim.Session) -> None:
    class Waiter:
        async def wait(self) -> None:
            pass

        async def count(self) -> AsyncIterator[int]:
            yield 1

    rsim.remote(Waiter).remote()
    creation = session.specs[-1].creation
    assert creation == ActorOptions(max_concurrency=1000, asyncio=True)
    rsim.remote(max_concurrency=3)(Waiter).remote().wait.remote()
    created, called = session.specs[-2:]
    assert created.creation == ActorOptions(max_concurrency=3, asyncio=True)
    assert called.options.out_of_order
    with pytest.raises(ValueError, match="an actor with async def methods"):
        rsim.remote(allow_out_of_order_execution=False)(Waiter)


def test_a_constructor_cannot_be_asynchronous() -> None:
    class Early:
        async def __init__(self) -> None:  # type: ignore[misc]
            pass

    with pytest.raises(TypeError, match=r"Early\.__init__ cannot be an 'async def' method"):
        rsim.remote(Early)


def test_concurrency_groups(session: rsim.Session) -> None:
    class Grouped:
        @rsim.method(concurrency_group="io")
        def read(self) -> None:
            pass

        def other(self) -> None:
            pass

    actor = rsim.remote(concurrency_groups={"io": 2, "cpu": 1})(Grouped).remote()
    assert session.specs[-1].creation == ActorOptions(groups=(("io", 2), ("cpu", 1)))
    actor.read.remote()
    actor.other.options(concurrency_group="cpu").remote()
    actor.other.remote()
    assert [call.options.group for call in session.specs[-3:]] == ["io", "cpu", ""]
    with pytest.raises(ValueError, match=r"no concurrency group 'net': .* has 'io', 'cpu'"):
        actor.other.options(concurrency_group="net")
    with pytest.raises(ValueError, match=r"no concurrency group 'io': .* has none"):
        rsim.remote(Grouped)
    with pytest.raises(ValueError, match="belong to the class"):
        Actor.options(concurrency_groups={"io": 1})
    with pytest.raises(ValueError, match=r"concurrency_groups\['io'\] must be 1 or more"):
        rsim.remote(concurrency_groups={"io": 0})(Grouped)
    with pytest.raises(TypeError, match="must be a dict"):
        rsim.remote(concurrency_groups=["io"])(Grouped)
