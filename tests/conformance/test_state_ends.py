"""What the state API tells of tasks and workers that did not end as usual: Ray's names."""

import os
import sys

import pytest

import rsim
from rsim.exceptions import ActorDiedError, TaskCancelledError, WorkerCrashedError
from rsim.util import state
from tests.conformance import marks


@rsim.remote
class Ends:
    def where(self):
        return os.getpid()

    def leave(self):
        rsim.actor.exit_actor()

    def leave_with(self, code=0):
        sys.exit(code)

    def items(self):
        yield 1
        rsim.actor.exit_actor()


def ended(name, **options):
    (task,) = state.list_tasks(filters=[("name", "=", name)], **options)
    return task.state, task.error_type


def exit_type_of(pid):
    """Of the worker that had this pid, when it is gone."""
    found = []

    def is_gone():
        found[:] = [each for each in state.list_workers(limit=1000) if each.pid == pid]
        return found and not found[0].is_alive

    marks.await_that(is_gone, f"the end of process {pid}")
    return found[0].exit_type


@pytest.mark.parametrize("nodes", [1, 2])
def test_a_call_that_ends_its_actor_has_finished(init, nodes):
    session = init(num_cpus=2)
    if nodes == 2:
        session.add_node(num_cpus=2, resources={"there": 1})
    place = {"resources": {"there": 0.1}} if nodes == 2 else {}
    for call in ("leave", "leave_with"):
        actor = Ends.options(**place).remote()
        pid = rsim.get(actor.where.remote())
        last = getattr(actor, call).remote()
        late = actor.where.options(name=f"after {call}").remote()
        for ref in (last, late):
            with pytest.raises(ActorDiedError):
                rsim.get(ref)
        assert ended(f"Ends.{call}") == ("FINISHED", None)
        assert ended(f"after {call}") == ("FAILED", "ACTOR_DIED")
        assert exit_type_of(pid) == "INTENDED_USER_EXIT"


def test_a_generator_that_ends_its_actor_has_finished(rt):
    refs = Ends.remote().items.remote()
    assert rsim.get(next(refs)) == 1
    with pytest.raises(ActorDiedError):
        rsim.get(next(refs))
    assert ended("Ends.items") == ("FINISHED", None)


def test_a_call_that_ends_its_process_with_an_error_has_failed(rt):
    actor = Ends.remote()
    pid = rsim.get(actor.where.remote())
    with pytest.raises(ActorDiedError):
        rsim.get(actor.leave_with.remote(4))
    assert ended("Ends.leave_with") == ("FAILED", "ACTOR_DIED")
    assert exit_type_of(pid) == "SYSTEM_ERROR"


def test_a_cancelled_task_has_finished_if_it_ran(init, tmp_path):
    init(num_cpus=1)

    @rsim.remote(max_retries=0)
    def stay(folder):
        marks.leave(folder, str(os.getpid()))
        marks.await_marks(folder, "never")

    for name, force in (("told", False), ("forced", True)):
        folder = tmp_path / name
        folder.mkdir()
        runs = stay.options(name=name).remote(folder)
        waits = stay.options(name=f"{name} in wait").remote(folder)
        marks.await_that(lambda folder=folder: os.listdir(folder), "its begin")
        for ref in (waits, runs):
            rsim.cancel(ref, force=force)
            with pytest.raises((TaskCancelledError, WorkerCrashedError)):
                rsim.get(ref)
        assert ended(f"{name} in wait") == ("FAILED", "TASK_CANCELLED")
    assert ended("told") == ("FINISHED", None)
    assert ended("forced") == ("FAILED", "WORKER_DIED")
    (pid,) = map(int, os.listdir(tmp_path / "forced"))
    assert exit_type_of(pid) == "INTENDED_USER_EXIT"


def test_why_workers_have_ended(rt, tmp_path):
    @rsim.remote
    class Unmade:
        def __init__(self):
            marks.leave(tmp_path, str(os.getpid()))
            raise ValueError("no")

        def ready(self):
            return True

    with pytest.raises(ActorDiedError, match="ValueError: no"):
        rsim.get(Unmade.remote().ready.remote())
    (pid,) = map(int, os.listdir(tmp_path))
    assert exit_type_of(pid) == "USER_ERROR"
    assert ended("Unmade.__init__") == ("FAILED", "TASK_EXECUTION_EXCEPTION")
    (worker,) = state.list_workers(filters=[("exit_type", "=", "USER_ERROR")], detail=True)
    assert "ValueError: no" in worker.exit_detail
    assert exit_type_of(rsim.get(rsim.remote(max_calls=1)(os.getpid).remote())) == (
        "INTENDED_USER_EXIT"
    )
    actor = Ends.remote()
    pid = rsim.get(actor.where.remote())
    rsim.kill(actor)
    assert exit_type_of(pid) == "INTENDED_SYSTEM_EXIT"


def test_classes_have_their_qualified_names(rt):
    class Outer:
        @rsim.remote
        class Inner:
            def ready(self):
                return True

    @rsim.remote
    def elsewhere(cls):
        actor = cls.remote()
        return rsim.get(actor.ready.remote())

    assert rsim.get(Outer.Inner.remote().ready.remote())
    assert rsim.get(elsewhere.remote(Outer.Inner))
    name = "test_classes_have_their_qualified_names.<locals>.Outer.Inner"
    assert [each.class_name for each in state.list_actors()] == [name, name]
    functions = {each.func_or_class_name for each in state.list_tasks()}
    assert functions == {"Inner.__init__", "Inner.ready", "elsewhere"}
