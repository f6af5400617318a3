"""cancel: of tasks that wait, that run, that have children, that are done."""

import sys
import time

import pytest

import rsim
from rsim.exceptions import RsimTaskError, TaskCancelledError, WorkerCrashedError
from tests.conformance import marks

FOREVER_S = 10_000


@rsim.remote
def identity(value):
    return value


@rsim.remote
def run_until_cancelled(folder, name):
    """Runs on and on; marks its beginning, and that it was interrupted."""
    marks.leave(folder, f"{name} began")
    try:
        time.sleep(FOREVER_S)
    except KeyboardInterrupt:
        marks.leave(folder, f"{name} interrupted")
        raise


def test_a_task_whose_inputs_are_missing(rt, tmp_path):
    never = run_until_cancelled.remote(tmp_path, "input")
    ref = identity.remote(never)
    rsim.cancel(ref)
    with pytest.raises(TaskCancelledError, match="identity"):
        rsim.get(ref)
    rsim.cancel(never)


def test_a_queued_task_never_runs(init, tmp_path):
    init(num_cpus=1)

    @rsim.remote
    def leave(folder, name):
        marks.leave(folder, name)

    blocker = run_until_cancelled.remote(tmp_path, "blocker")
    marks.await_marks(tmp_path, "blocker began")
    queued = [leave.remote(tmp_path, f"task{number}") for number in range(3)]
    rsim.cancel(queued[1])
    with pytest.raises(TaskCancelledError):
        rsim.get(queued[1])
    rsim.cancel(blocker)
    rsim.get([queued[0], queued[2]])
    assert [marks.count(tmp_path, f"task{number}") for number in range(3)] == [1, 0, 1]


def test_a_running_task_is_interrupted(rt, tmp_path):
    ref = run_until_cancelled.remote(tmp_path, "task")
    marks.await_marks(tmp_path, "task began")
    rsim.cancel(ref)
    with pytest.raises(TaskCancelledError, match="run_until_cancelled"):
        rsim.get(ref)
    marks.await_marks(tmp_path, "task interrupted")
    assert rsim.get(identity.remote(1)) == 1


def test_a_task_that_is_stopped_in_get_is_interrupted(init, tmp_path):
    init(num_cpus=2)

    @rsim.remote
    def wait_for(refs, folder):
        marks.leave(folder, "parent began")
        try:
            rsim.get(refs)
        except KeyboardInterrupt:
            marks.leave(folder, "parent interrupted")
            raise

    child = run_until_cancelled.remote(tmp_path, "child")
    parent = wait_for.remote([child], tmp_path)
    marks.await_marks(tmp_path, "child began", "parent began")
    rsim.cancel(parent)
    with pytest.raises(TaskCancelledError):
        rsim.get(parent)
    marks.await_marks(tmp_path, "parent interrupted")
    assert rsim.wait([child], timeout=0) == ([], [child])
    rsim.cancel(child)
    with pytest.raises(TaskCancelledError):
        rsim.get(child)


def test_a_task_may_clean_up_and_even_finish(rt, tmp_path):
    @rsim.remote
    def stubborn(folder):
        marks.leave(folder, "began")
        try:
            time.sleep(FOREVER_S)
        except KeyboardInterrupt:
            marks.leave(folder, "cleaned up")
        return "finished"

    ref = stubborn.remote(tmp_path)
    marks.await_marks(tmp_path, "began")
    rsim.cancel(ref)
    try:
        assert rsim.get(ref) == "finished"
    except TaskCancelledError:
        pass
    marks.await_marks(tmp_path, "cleaned up")


def test_force_kills_the_worker(rt, tmp_path):
    @rsim.remote(max_retries=5)
    def deaf(folder):
        marks.leave(folder, "began")
        while True:
            try:
                time.sleep(FOREVER_S)
            except KeyboardInterrupt:
                continue

    ref = deaf.remote(tmp_path)
    marks.await_marks(tmp_path, "began")
    rsim.cancel(ref, force=True)
    with pytest.raises(WorkerCrashedError, match="deaf"):
        rsim.get(ref)
    assert rsim.get([identity.remote(number) for number in range(8)]) == list(range(8))
    assert marks.count(tmp_path, "began") == 1


def test_a_cancelled_task_is_never_retried(rt, tmp_path):
    @rsim.remote(max_retries=-1, retry_exceptions=True)
    def run(folder):
        marks.leave(folder, "began")
        time.sleep(FOREVER_S)

    ref = run.remote(tmp_path)
    marks.await_marks(tmp_path, "began")
    rsim.cancel(ref)
    with pytest.raises(TaskCancelledError):
        rsim.get(ref)
    assert marks.count(tmp_path, "began") == 1


@pytest.mark.parametrize("recursive", [True, False])
def test_children_are_cancelled_too_unless_told_otherwise(rt, tmp_path, recursive):
    @rsim.remote
    def parent(folder):
        child = run_until_cancelled.remote(folder, "child")
        rsim.get(publish.remote([child], folder))
        return rsim.get(child)

    @rsim.remote
    def publish(refs, folder):
        marks.leave(folder, "published")

    ref = parent.remote(tmp_path)
    marks.await_marks(tmp_path, "child began", "published")
    rsim.cancel(ref, recursive=recursive)
    with pytest.raises(TaskCancelledError):
        rsim.get(ref)
    if recursive:
        marks.await_marks(tmp_path, "child interrupted")
    else:
        rsim.get([identity.remote(number) for number in range(8)])
        assert marks.count(tmp_path, "child interrupted") == 0


def test_cancelling_a_task_that_has_finished_spares_its_children(rt, tmp_path):
    @rsim.remote
    def parent(folder):
        return [until_marked.remote(folder)]

    @rsim.remote
    def until_marked(folder):
        marks.leave(folder, "child began")
        marks.await_marks(folder, "go on")
        return "done"

    ref = parent.remote(tmp_path)
    (child,) = rsim.get(ref)
    marks.await_marks(tmp_path, "child began")
    rsim.cancel(ref)
    marks.leave(tmp_path, "go on")
    assert rsim.get(child) == "done"


def test_force_has_no_worker_to_kill_where_nothing_runs_yet(init, tmp_path):
    init(num_cpus=1)
    blocker = run_until_cancelled.remote(tmp_path, "blocker")
    queued = run_until_cancelled.remote(tmp_path, "queued")
    waiting = identity.remote(queued)
    marks.await_marks(tmp_path, "blocker began")
    for ref in (waiting, queued):
        rsim.cancel(ref, force=True)
        with pytest.raises(TaskCancelledError):
            rsim.get(ref)
    assert rsim.wait([blocker], timeout=0) == ([], [blocker])
    rsim.cancel(blocker, force=True)
    with pytest.raises(WorkerCrashedError):
        rsim.get(blocker)
    assert marks.count(tmp_path, "queued began") == 0


@rsim.remote(max_retries=0)
def nest(folder, depth):
    """A task that waits for a task that waits for a task ..."""
    try:
        marks.leave(folder, f"{depth} began")
        if depth:
            rsim.get(nest.remote(folder, depth - 1))
        else:
            time.sleep(FOREVER_S)
    except (KeyboardInterrupt, TaskCancelledError):  # its child's end may be quicker to come
        marks.leave(folder, f"{depth} interrupted")
        raise


def test_children_of_children_are_cancelled(rt, tmp_path):
    ref = nest.remote(tmp_path, 3)
    marks.await_marks(tmp_path, "0 began")
    rsim.cancel(ref)
    with pytest.raises(TaskCancelledError):
        rsim.get(ref)
    marks.await_marks(tmp_path, *(f"{depth} interrupted" for depth in range(4)))
    assert rsim.get([identity.remote(number) for number in range(8)]) == list(range(8))


def test_force_kills_the_workers_of_children_too(rt, tmp_path):
    ref = nest.remote(tmp_path, 2)
    marks.await_marks(tmp_path, "0 began")
    rsim.cancel(ref, force=True)
    with pytest.raises(WorkerCrashedError):
        rsim.get(ref)
    rsim.get([identity.remote(number) for number in range(8)])
    assert [marks.count(tmp_path, f"{depth} interrupted") for depth in range(3)] == [0, 0, 0]


def test_children_that_wait_for_room_are_cancelled(init, tmp_path):
    init(num_cpus=1)

    @rsim.remote
    def parent(folder):
        children = [run_until_cancelled.remote(folder, f"child{number}") for number in range(4)]
        marks.leave(folder, "submitted")
        return rsim.get(children)

    ref = parent.remote(tmp_path)
    marks.await_marks(tmp_path, "submitted")
    rsim.cancel(ref)
    with pytest.raises(TaskCancelledError):
        rsim.get(ref)
    assert rsim.get([identity.remote(number) for number in range(4)]) == list(range(4))


def test_an_actor_that_a_forced_task_called_lives_on(rt, tmp_path):
    @rsim.remote
    class Sleeper:
        def sleep(self, folder):
            marks.leave(folder, "asleep")
            time.sleep(FOREVER_S)

        def ping(self):
            return "pong"

    @rsim.remote
    def call(sleeper, folder):
        rsim.get(sleeper.sleep.remote(folder))

    sleeper = Sleeper.options(max_concurrency=2).remote()
    ref = call.remote(sleeper, tmp_path)
    marks.await_marks(tmp_path, "asleep")
    rsim.cancel(ref, force=True)
    with pytest.raises(WorkerCrashedError):
        rsim.get(ref)
    assert rsim.get(sleeper.ping.remote()) == "pong"


def test_the_error_names_the_task(rt, tmp_path):
    ref = run_until_cancelled.remote(tmp_path, "task")
    rsim.cancel(ref)
    with pytest.raises(TaskCancelledError, match="run_until_cancelled was cancelled") as caught:
        rsim.get(ref)
    assert caught.value.task_id == ref.task_id()


@pytest.mark.parametrize("far", [False, True])
def test_a_running_task_gets_an_error_of_its_own_by_its_cancellation(init, tmp_path, far, capfd):
    session = init(num_cpus=2)
    session.add_node(name="other", num_cpus=2, resources={"far": 1})
    place = {"resources": {"far": 1}} if far else {}
    seen, unseen = (run_until_cancelled.options(**place).remote(tmp_path, it) for it in "ab")
    marks.await_marks(tmp_path, "a began")
    rsim.cancel(seen)
    with pytest.raises(RsimTaskError, match="run_until_cancelled was cancelled") as caught:
        rsim.get(seen)
    assert isinstance(caught.value, TaskCancelledError)
    assert caught.value.task_id == seen.task_id()
    marks.await_marks(tmp_path, "b began")
    rsim.cancel(unseen)
    rsim.wait([unseen])
    del unseen
    rsim.shutdown()
    assert "dropped before" not in capfd.readouterr().err


def test_a_task_that_sees_to_its_cancellation_may_return(rt, tmp_path):
    @rsim.remote
    def patient():
        try:
            marks.leave(tmp_path, "began")
            time.sleep(1000)
        except KeyboardInterrupt:
            return rsim.get_runtime_context().is_canceled()

    @rsim.remote
    def is_canceled():
        return rsim.get_runtime_context().is_canceled()

    ref = patient.remote()
    marks.await_marks(tmp_path, "began")
    rsim.cancel(ref)
    assert rsim.get(ref) is True
    assert rsim.get([is_canceled.remote() for _ in range(4)]) == [False] * 4


def test_a_task_that_exits_as_it_is_cancelled_was_cancelled(rt, tmp_path):
    @rsim.remote
    def leave():
        try:
            marks.leave(tmp_path, "began")
            time.sleep(FOREVER_S)
        except KeyboardInterrupt:
            sys.exit(0)

    ref = leave.remote()
    marks.await_marks(tmp_path, "began")
    rsim.cancel(ref)
    with pytest.raises(TaskCancelledError):
        rsim.get(ref)


def test_a_finished_task_that_is_cancelled_is_not_run_again(init):
    session = init(num_cpus=0)
    session.add_node(name="other", num_cpus=1, resources={"far": 1})
    ref = identity.options(resources={"far": 1}).remote(bytes(500_000))
    rsim.wait([ref], fetch_local=False)
    rsim.cancel(ref)
    session.remove_node("other", graceful=False)
    session.add_node(name="another", num_cpus=1, resources={"far": 1})
    with pytest.raises(TaskCancelledError):
        rsim.get(ref)


def test_who_waits_for_a_cancelled_task_gets_its_error(rt, tmp_path):
    @rsim.remote
    def wait_for(refs):
        return rsim.get(refs[0])

    child = run_until_cancelled.remote(tmp_path, "child")
    parent = wait_for.remote([child])
    marks.await_marks(tmp_path, "child began")
    rsim.cancel(child)
    with pytest.raises(TaskCancelledError) as caught:
        rsim.get(parent)
    assert isinstance(caught.value, RsimTaskError)


def test_a_keyboard_interrupt_of_its_own_is_as_good_as_a_cancellation(rt, tmp_path):
    @rsim.remote(retry_exceptions=True)
    def interrupt():
        marks.leave(tmp_path, "run")
        raise KeyboardInterrupt("mine")

    with pytest.raises(TaskCancelledError, match="mine") as caught:
        rsim.get(interrupt.remote())
    assert isinstance(caught.value, RsimTaskError)
    assert marks.count(tmp_path, "run") == 1


def test_a_finished_task_keeps_its_result(rt):
    ref = identity.remote("kept")
    assert rsim.get(ref) == "kept"
    rsim.cancel(ref)
    rsim.cancel(ref, force=True)
    assert rsim.get(ref) == "kept"
    assert rsim.get(identity.remote(ref)) == "kept"


def test_cancelling_twice(rt, tmp_path):
    ref = run_until_cancelled.remote(tmp_path, "task")
    marks.await_marks(tmp_path, "task began")
    rsim.cancel(ref)
    rsim.cancel(ref)
    with pytest.raises(TaskCancelledError):
        rsim.get(ref)
    assert marks.count(tmp_path, "task interrupted") <= 1
    assert rsim.get(identity.remote(1)) == 1


def test_dependants_of_a_cancelled_task_fail(rt, tmp_path):
    ref = run_until_cancelled.remote(tmp_path, "task")
    dependant = identity.remote(ref)
    rsim.cancel(ref)
    with pytest.raises(TaskCancelledError):
        rsim.get(dependant)


def test_wait_counts_a_cancelled_task_as_ready(rt, tmp_path):
    ref = run_until_cancelled.remote(tmp_path, "task")
    rsim.cancel(ref)
    assert rsim.wait([ref], timeout=60) == ([ref], [])


def test_a_task_may_cancel_another(rt, tmp_path):
    @rsim.remote
    def cancel(refs):
        rsim.cancel(refs[0])

    ref = run_until_cancelled.remote(tmp_path, "task")
    marks.await_marks(tmp_path, "task began")
    rsim.get(cancel.remote([ref]))
    with pytest.raises(TaskCancelledError):
        rsim.get(ref)


def test_cancel_refuses_what_is_no_ref(rt):
    with pytest.raises(TypeError, match="ObjectRef"):
        rsim.cancel("ref")
