"""Errors of user code: what arrives at get, and how it flows on."""

import os
import pickle
import re
import signal
import time

import pytest

import rsim
from rsim.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    ActorUnschedulableError,
    OutOfMemoryError,
    RsimError,
    RsimTaskError,
    TaskCancelledError,
    WorkerCrashedError,
)
from tests.conformance import marks


class Refused(Exception):
    """An exception whose constructor takes other arguments than it passes on: no plain pickle."""

    def __init__(self, code, *, reason):
        super().__init__(f"{reason} ({code})")
        self.code = code
        self.reason = reason


@rsim.remote
def fail(error):
    raise error


@rsim.remote
def refuse():
    raise Refused(7, reason="closed")


@rsim.remote
def identity(value):
    return value


def error_of(ref):
    with pytest.raises(RsimTaskError) as caught:
        rsim.get(ref)
    return caught.value


def test_a_test_that_fails_is_shown_where_it_does(rt):
    """pytest leaves out the frames of rsim."""
    for call in (
        lambda: rsim.get(fail.remote(ValueError())),
        lambda: rsim.get(identity.options(num_cpus=99).remote(1), timeout=0.01),
        lambda: identity.remote(1, 2),
        lambda: identity.options(num_cpu=1),
        lambda: rsim.get(5),
    ):
        with pytest.raises((ValueError, TypeError, TimeoutError)) as caught:
            call()
        shown = caught.traceback.filter(caught)
        assert {str(entry.path) for entry in shown} == {__file__}


def test_an_error_is_a_task_error_and_of_the_users_type(rt):
    error = error_of(fail.remote(ZeroDivisionError("by hand")))
    assert isinstance(error, RsimError)
    assert isinstance(error, ZeroDivisionError)
    assert error.args == ("by hand",)


def test_the_cause_is_the_users_own_exception(rt):
    cause = error_of(fail.remote(LookupError(1, 2))).cause
    assert type(cause) is LookupError
    assert cause.args == (1, 2)


def test_the_message_shows_where_it_happened(rt):
    @rsim.remote
    def outer():
        def inner():
            raise ValueError("deep down")

        inner()

    error = error_of(outer.remote())
    assert "deep down" in str(error)
    assert "outer" in error.function_name
    for line in ("in outer", "in inner", 'raise ValueError("deep down")', __file__):
        assert line in error.remote_traceback
        assert line in str(error)


def test_a_type_with_its_own_constructor(rt):
    error = error_of(refuse.remote())
    assert isinstance(error, Refused)
    assert (error.code, error.reason) == (7, "closed")
    assert "closed (7)" in str(error)


def test_a_type_defined_in_the_test(rt):
    class Local(Exception):
        pass

    with pytest.raises(Local):
        rsim.get(fail.remote(Local(1)))


def test_a_type_with_slots_defined_in_the_test(rt):
    """It is pickled by value, whereby it loses its slots."""

    class Slotted(Exception):
        __slots__ = ("limit",)

        def __init__(self, limit):
            self.limit = limit

    @rsim.remote
    def refuse():
        raise Slotted(7)

    error = error_of(refuse.remote())
    assert (error.limit, error.cause.limit) == (7, 7)


def test_the_chain_of_causes_is_kept(rt):
    @rsim.remote
    def chained():
        try:
            {}["missing"]
        except KeyError as error:
            raise RuntimeError("translated") from error

    error = error_of(chained.remote())
    assert isinstance(error.cause.__cause__, KeyError)
    assert "KeyError: 'missing'" in error.remote_traceback


def test_an_exception_group(rt):
    @rsim.remote
    def group():
        raise ExceptionGroup("two", [ValueError(1), TypeError(2)])

    with pytest.raises(ExceptionGroup) as caught:
        rsim.get(group.remote())
    assert [type(each) for each in caught.value.exceptions] == [ValueError, TypeError]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, GeneratorExit])
def test_what_ends_a_program_ends_only_the_task(rt, kind):
    @rsim.remote
    def stop():
        raise kind

    error = error_of(stop.remote())
    assert not isinstance(error, kind)
    assert isinstance(error.cause, TaskCancelledError if kind is KeyboardInterrupt else kind)
    assert rsim.get(identity.remote(1)) == 1


def test_errors_flow_through_dependants(rt):
    ref = identity.remote(identity.remote(fail.remote(KeyError("source"))))
    error = error_of(ref)
    assert isinstance(error, KeyError)
    assert "fail" in str(error)


@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
def test_a_dependant_of_what_the_system_failed_has_a_task_error(init, large):
    session = init(num_cpus=1)
    session.add_node(name="other", num_cpus=1, resources={"other": 1})
    crash = rsim.remote(max_retries=0)(os._exit)

    def dependant(value, _rest=None):
        return value

    for node in ({}, {"other": 1}):
        first = rsim.remote(resources=node)(dependant).remote(crash.remote(1), bytes(large * 10**6))
        error = error_of(rsim.remote(dependant).remote(first))
        assert isinstance(error, rsim.exceptions.RsimTaskError)
        assert isinstance(error, rsim.exceptions.WorkerCrashedError)
        assert type(error.cause) is rsim.exceptions.WorkerCrashedError
        assert error.function_name == "dependant"
        assert "did not run" in str(error)

    @rsim.remote
    def in_a_task(refs):
        with pytest.raises(rsim.exceptions.RsimTaskError, match="did not run") as caught:
            rsim.get(refs[0])
        return isinstance(caught.value, rsim.exceptions.WorkerCrashedError)

    assert rsim.get(in_a_task.options(resources={"other": 1}).remote([first]))


def test_a_dependant_of_an_error_does_not_run(rt, tmp_path):
    @rsim.remote
    def leave_mark(folder, _value):
        marks.leave(folder, "ran")

    with pytest.raises(ValueError):
        rsim.get(leave_mark.remote(tmp_path, fail.remote(ValueError())))
    assert rsim.get(identity.remote(1)) == 1
    assert marks.count(tmp_path, "ran") == 0


def test_errors_pass_through_get_in_tasks(rt):
    @rsim.remote
    def ask(number):
        return rsim.get(
            fail.remote(IndexError("bottom")) if number == 0 else ask.remote(number - 1)
        )

    error = error_of(ask.remote(3))
    assert isinstance(error, IndexError)
    assert type(error.cause) is IndexError
    assert error.remote_traceback.count("in ask") >= 4
    assert "in fail" in error.remote_traceback


def test_a_task_may_handle_an_error(rt):
    @rsim.remote
    def handle(refs):
        try:
            rsim.get(refs)
        except KeyError as error:
            return isinstance(error, RsimTaskError), error.args

    assert rsim.get(handle.remote([fail.remote(KeyError("k"))])) == (True, ("k",))


def test_a_nested_ref_to_an_error_is_no_error(rt):
    @rsim.remote
    def hold(refs):
        return len(refs)

    assert rsim.get(hold.remote([fail.remote(ValueError())])) == 1


def test_each_get_raises_anew(rt):
    ref = fail.remote(ValueError("again"))
    first, second = error_of(ref), error_of(ref)
    assert first is not second
    assert first.args == second.args == ("again",)


def test_an_error_may_be_a_value(rt):
    with pytest.raises(ValueError):
        rsim.get(fail.remote(ValueError()))
    assert isinstance(rsim.get(rsim.put(ValueError("kept"))), ValueError)


def test_an_error_survives_pickle(rt):
    error = error_of(refuse.remote())
    back = pickle.loads(pickle.dumps(error))
    assert isinstance(back, Refused)
    assert isinstance(back, RsimTaskError)
    assert (back.code, str(back)) == (7, str(error))


def test_a_large_error(rt):
    error = error_of(fail.remote(ValueError("x" * 500_000)))
    assert len(error.args[0]) == 500_000


def test_the_next_task_finds_nothing_of_an_error(rt):
    refs = [fail.remote(ValueError(number)) for number in range(10)]
    assert [error_of(ref).args for ref in refs] == [(number,) for number in range(10)]
    assert rsim.get([identity.remote(number) for number in range(10)]) == list(range(10))


# -- kinds of errors -------------------------------------------------------------------------------


def test_except_star_splits_a_group(rt):
    @rsim.remote
    def group():
        raise ExceptionGroup("three", [ValueError(1), TypeError(2), ValueError(3)])

    found = []
    with pytest.raises(ExceptionGroup) as caught:
        try:
            rsim.get(group.remote())
        except* ValueError as matched:
            found = [each.args for each in matched.exceptions]
    assert found == [(1,), (3,)]
    assert [type(each) for each in caught.value.exceptions] == [TypeError]


def test_notes_and_the_chain_are_kept(rt):
    @rsim.remote
    def note():
        try:
            raise KeyError("first")
        except KeyError as first:
            error = ValueError("second")
            error.add_note("a note")
            raise error from first

    error = error_of(note.remote())
    assert error.__notes__ == error.cause.__notes__ == ["a note"]
    assert isinstance(error.__cause__, KeyError)
    assert isinstance(error.cause.__cause__, KeyError)


def test_a_base_exception_of_the_users_own(rt):
    class Stop(BaseException):
        pass

    error = error_of(fail.remote(Stop("now")))
    assert isinstance(error, Stop)
    assert error.args == ("now",)


def test_a_memory_error_is_the_tasks_own(rt):
    error = error_of(fail.remote(MemoryError("too much")))
    assert isinstance(error, MemoryError)
    assert not isinstance(error, OutOfMemoryError)


def test_errors_of_the_system_pass_through_tasks(rt):
    @rsim.remote(max_retries=0)
    def die():
        os._exit(3)

    @rsim.remote
    class Mortal:
        def die(self):
            os._exit(3)

    def let_an_actor_die():
        return Mortal.remote().die.remote()

    @rsim.remote
    def ask(make):
        return rsim.get(make())

    error = error_of(ask.remote(die.remote))
    assert isinstance(error, WorkerCrashedError)
    assert type(error.cause) is WorkerCrashedError
    error = error_of(ask.remote(let_an_actor_die))
    assert isinstance(error, ActorDiedError)
    assert error.actor_id == error.cause.actor_id
    assert len(error.actor_id) == 40


def test_an_error_of_the_system_as_an_argument_is_an_error_of_the_task(rt):
    @rsim.remote(max_retries=0)
    def die():
        os._exit(3)

    @rsim.remote
    def consume(_value):
        raise AssertionError("it has no argument to run with")

    @rsim.remote
    class Consumer:
        def consume(self, _value):
            raise AssertionError("it has no argument to run with")

    crashed = die.remote()
    first = consume.remote(crashed)
    for ref in (first, consume.remote(first), Consumer.remote().consume.remote(crashed)):
        error = error_of(ref)
        assert isinstance(error, WorkerCrashedError)
        assert isinstance(error, RsimTaskError)
        assert type(error.cause) is WorkerCrashedError
        assert "consume() " in str(error)
    with pytest.raises(WorkerCrashedError) as raised:
        rsim.get(crashed)
    assert not isinstance(raised.value, RsimTaskError)


def test_an_error_raised_from_another_tasks(rt):
    @rsim.remote
    def translate():
        try:
            rsim.get(fail.remote(KeyError("inner")))
        except KeyError as error:
            raise ValueError("outer") from error

    error = error_of(translate.remote())
    assert isinstance(error, ValueError)
    assert not isinstance(error, KeyError)
    assert isinstance(error.__cause__, KeyError)
    assert isinstance(error.__cause__, RsimTaskError)
    assert "in fail" in error.remote_traceback


# -- dead actors -----------------------------------------------------------------------------------


@rsim.remote
class Fragile:
    """Its constructor raises from the second time on."""

    def __init__(self, folder):
        marks.leave(folder, "made")
        if marks.count(folder, "made") > 1:
            raise ValueError("not again")

    def exit(self):
        rsim.actor.exit_actor()

    def die(self, how):
        how()

    def ping(self):
        return "pong"


@rsim.remote
class SlowToReturn:
    """Its constructor waits for a mark from the second time on."""

    def __init__(self, folder):
        self.folder = folder
        marks.leave(folder, "made")
        if marks.count(folder, "made") > 1:
            marks.await_marks(folder, "go")

    def die(self):
        os._exit(3)

    def ping(self):
        return "pong"


@pytest.mark.parametrize("far", [False, True])
def test_a_call_does_not_wait_until_the_actor_lives_again(init, tmp_path, far):
    session = init(num_cpus=1)
    session.add_node(name="other", num_cpus=1, resources={"far": 1})
    place = {"resources": {"far": 1}} if far else {}
    actor = SlowToReturn.options(max_restarts=1, **place).remote(tmp_path)
    assert rsim.get(actor.ping.remote()) == "pong"
    with pytest.raises(ActorUnavailableError, match=r"it ran SlowToReturn\.die"):
        rsim.get(actor.die.remote(), timeout=50)
    for ref in [actor.ping.remote() for _ in range(2)]:
        with pytest.raises(ActorUnavailableError, match="The actor is restarting"):
            rsim.get(ref, timeout=50)
    waiting = actor.ping.options(max_task_retries=1).remote()
    marks.leave(tmp_path, "go")
    assert rsim.get([waiting, actor.ping.options(max_task_retries=1).remote()]) == ["pong"] * 2
    assert rsim.get(actor.ping.remote()) == "pong"


@pytest.mark.parametrize("far", [False, True])
def test_calls_wait_for_an_actor_whose_calls_are_retried(init, tmp_path, far):
    session = init(num_cpus=1)
    session.add_node(name="other", num_cpus=1, resources={"far": 1})
    place = {"resources": {"far": 1}} if far else {}
    actor = SlowToReturn.options(max_restarts=1, max_task_retries=1, **place).remote(tmp_path)
    assert rsim.get(actor.ping.remote()) == "pong"
    with pytest.raises(ActorUnavailableError):
        rsim.get(actor.die.options(max_task_retries=0).remote())
    waiting = actor.ping.options(max_task_retries=0).remote()
    marks.leave(tmp_path, "go")
    assert rsim.get(waiting) == "pong"


def death_of(actor):
    """The error that says that the actor is dead, once it is."""
    while True:
        try:
            rsim.get(actor.ping.remote())
        except ActorDiedError as error:
            return error
        except ActorUnavailableError:
            pass


def kill_oneself():
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (rsim.kill, "it was killed by rsim.kill"),
        (lambda actor: actor.exit.remote(), "it ended itself by exit_actor"),
        (lambda actor: actor.die.remote(lambda: os._exit(7)), "its worker died: exit code 7"),
        (lambda actor: actor.die.remote(kill_oneself), r"killed by signal 9 \(SIGKILL\)"),
    ],
    ids=["kill", "exit", "exit code", "signal"],
)
def test_a_dead_actor_says_why(rt, tmp_path, end, reason):
    actor = Fragile.remote(tmp_path)
    assert rsim.get(actor.ping.remote()) == "pong"
    end(actor)
    error = death_of(actor)
    assert re.search(f"Fragile is dead: .*{reason}", str(error))
    assert error.actor_id == repr(actor).split()[-1].rstrip(")")


def test_a_constructor_that_raises_when_it_runs_again(rt, tmp_path):
    actor = Fragile.options(max_restarts=-1, name="fragile").remote(tmp_path)
    assert rsim.get(actor.ping.remote()) == "pong"
    actor.die.remote(kill_oneself)
    error = death_of(actor)
    assert "its constructor raised ValueError: not again" in str(error)
    assert marks.count(tmp_path, "made") == 2
    with pytest.raises(ValueError, match="actor with name 'fragile'"):
        rsim.get_actor("fragile")


def test_an_actor_that_cannot_be_placed(tmp_path):
    cluster = rsim.sim.Cluster(nodes=2, num_cpus=1)
    with rsim.init("sim", cluster=cluster) as session:
        session.kill_node("n1")
        time.sleep(60)  # user program, in virtual time: until the death is known
        there = rsim.util.scheduling_strategies.NodeAffinitySchedulingStrategy("n1", soft=False)
        with pytest.raises(ActorUnschedulableError, match="Fragile"):
            rsim.get(Fragile.options(scheduling_strategy=there).remote(tmp_path).ping.remote())


# -- retries ---------------------------------------------------------------------------------------


@rsim.remote
def mark_and_fail(folder):
    marks.leave(folder, "ran")
    raise KeyError("k")


@pytest.mark.parametrize(
    ("options", "runs"),
    [
        ({}, 1),
        ({"retry_exceptions": False}, 1),
        ({"retry_exceptions": [ValueError]}, 1),
        ({"retry_exceptions": True, "max_retries": 0}, 1),
        ({"retry_exceptions": True, "max_retries": 2}, 3),
        ({"retry_exceptions": [KeyError], "max_retries": 1}, 2),
    ],
)
def test_exceptions_are_retried_as_often_as_asked(rt, tmp_path, options, runs):
    with pytest.raises(KeyError):
        rsim.get(mark_and_fail.options(**options).remote(tmp_path))
    assert marks.count(tmp_path, "ran") == runs


def test_the_call_the_method_and_the_actor_say_how_often(rt, tmp_path):
    @rsim.remote(max_task_retries=1)
    class Flaky:
        def plain(self, folder):
            marks.leave(folder, "ran")
            raise KeyError

        @rsim.method(max_task_retries=2, retry_exceptions=True)
        def own(self, folder):
            marks.leave(folder, "ran")
            raise KeyError

    def runs(actor, method, name, **options):
        folder = tmp_path / name
        folder.mkdir()
        with pytest.raises(KeyError):
            rsim.get(getattr(actor, method).options(**options).remote(folder))
        return marks.count(folder, "ran")

    flaky = Flaky.remote()
    assert runs(flaky, "plain", "none") == 1
    assert runs(flaky, "plain", "actor", retry_exceptions=True) == 2
    assert runs(flaky, "own", "method") == 3
    assert runs(flaky, "own", "call", max_task_retries=3) == 4
    assert runs(flaky, "own", "not these", retry_exceptions=[ValueError]) == 1
    generous = Flaky.options(max_task_retries=4).remote()
    assert runs(generous, "plain", "options", retry_exceptions=[LookupError]) == 5
    assert runs(generous, "own", "method first") == 3


# -- memory ----------------------------------------------------------------------------------------


def test_a_node_that_runs_out_of_memory(tmp_path):
    @rsim.remote
    def hungry():
        marks.leave(tmp_path, "began")
        time.sleep(1)  # user program
        return marks.count(tmp_path, "began")

    with rsim.init("sim", num_cpus=2) as session:
        retried, other = hungry.remote(), hungry.options(max_retries=0).remote()
        time.sleep(0.5)  # user program, in virtual time
        session.exhaust_memory("n0")
        assert rsim.get([retried, other]) == [3, 2]
        failing = hungry.options(max_retries=0).remote()
        time.sleep(0.5)  # user program, in virtual time
        session.exhaust_memory("n0")
        with pytest.raises(OutOfMemoryError, match="hungry"):
            rsim.get(failing)
        with pytest.raises(ValueError, match="there is no node 'n7'"):
            session.exhaust_memory("n7")
