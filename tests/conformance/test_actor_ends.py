"""How actors end in good order: sys.exit(), and the method that cleans up."""

import atexit
import gc
import os
import sys
import time

import pytest

import rsim
import rsim.util
from rsim.exceptions import ActorDiedError
from tests.conformance import marks
from tests.polling import holds_in_time


def is_dead(handle):
    """Whether a call says so."""
    try:
        rsim.get(handle.__ray_ready__.remote())
    except ActorDiedError:
        return True
    return False


@rsim.remote
class Tidy:
    def __init__(self, folder):
        self.folder = folder

    def run(self):
        return "ran"

    def exit(self, *code):
        sys.exit(*code)

    def __ray_shutdown__(self):
        marks.leave(self.folder, "tidied")


def test_sys_exit_ends_an_actor(rt, tmp_path):
    actor = Tidy.options(max_restarts=-1).remote(tmp_path)
    leaving, after = actor.exit.remote(), actor.run.remote()
    for ref in (leaving, after):
        with pytest.raises(ActorDiedError, match=r"sys\.exit"):
            rsim.get(ref)


def test_garbage_that_holds_an_actor_keeps_nobody_waiting(init, tmp_path):
    init(num_cpus=1)
    collects = gc.isenabled()
    gc.disable()
    try:
        for _ in range(2):
            cycle = [Tidy.options(num_cpus=1).remote(tmp_path)]
            cycle.append(cycle)
            assert rsim.get(cycle[0].run.remote()) == "ran"
            del cycle
    finally:
        if collects:
            gc.enable()


@pytest.mark.parametrize("code", [3, "something is wrong"])
@pytest.mark.parametrize("options", [{}, {"max_concurrency": 2}])
def test_sys_exit_with_an_error_is_a_crash(rt, tmp_path, code, options):
    actor = Tidy.options(**options).remote(tmp_path)
    with pytest.raises(ActorDiedError, match="exit code"):
        rsim.get(actor.exit.remote(code))
    assert is_dead(actor)
    assert marks.count(tmp_path, "tidied") == 0


@rsim.remote(max_restarts=1, max_task_retries=1)
class Fickle:
    def __init__(self, folder):
        marks.leave(folder, "made")
        self.folder = folder

    def run(self):
        if marks.count(self.folder, "made") == 1:
            sys.exit(1)
        return "ran"


@rsim.remote(max_restarts=1, max_task_retries=1)
class AsyncFickle:
    def __init__(self, folder):
        marks.leave(folder, "made")
        self.folder = folder

    async def run(self):
        if marks.count(self.folder, "made") == 1:
            sys.exit(1)
        return "ran"


@pytest.mark.parametrize("kind", [Fickle, AsyncFickle])
def test_after_sys_exit_with_an_error_it_is_made_again(rt, tmp_path, kind):
    actor = kind.remote(tmp_path)
    assert rsim.get(actor.run.remote()) == "ran"
    assert marks.count(tmp_path, "made") == 2


@pytest.mark.parametrize("way", ["exit", "terminate", "handles"])
def test_an_actor_that_ends_in_good_order_cleans_up(rt, tmp_path, way):
    actor = Tidy.remote(tmp_path)
    assert rsim.get(actor.run.remote()) == "ran"
    if way == "exit":
        actor.exit.remote(0)
    elif way == "terminate":
        actor.__ray_terminate__.remote()
    del actor
    marks.await_marks(tmp_path, "tidied")


@rsim.remote
class Registered:
    def __init__(self, folder, name="left"):
        self.folder = folder
        atexit.register(self.leave, name=name)
        atexit.register(marks.leave, folder, "never")
        atexit.unregister(marks.leave)
        atexit.register(marks.leave, folder, "first")

    def leave(self, name):
        assert marks.count(self.folder, "first") == 1  # what was registered last
        marks.leave(self.folder, name)

    def exit(self):
        rsim.actor.exit_actor()

    def __del__(self):
        if marks.count(self.folder, "left"):  # a killed one of a simulation is garbage as well
            marks.leave(self.folder, "deleted")


@pytest.mark.parametrize("way", ["exit", "terminate", "handles"])
def test_what_an_actor_registers_at_exit_runs_when_it_ends_in_good_order(rt, tmp_path, way):
    actor, other = Registered.remote(tmp_path), Registered.remote(tmp_path / "other")
    rsim.get([actor.__ray_ready__.remote(), other.__ray_ready__.remote()])
    if way == "exit":
        actor.exit.remote()
    elif way == "terminate":
        actor.__ray_terminate__.remote()
    del actor
    marks.await_marks(tmp_path, "first", "left", "deleted")
    rsim.kill(other)
    assert is_dead(other)
    assert marks.count(tmp_path, "never") == 0
    assert marks.count(tmp_path / "other", "first") == 0


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.parametrize("options", [{}, {"max_concurrency": 2}])
def test_files_that_an_actor_has_open_are_written_when_it_ends(rt, tmp_path, options):
    @rsim.remote
    class Writer:
        def __init__(self):
            self.file = open(tmp_path / "file", "w")  # noqa: SIM115

        def write(self):
            self.file.write("text")

    class AsyncWriter(Writer._cls):
        async def wait(self):
            pass

    for kind in (Writer, rsim.remote(AsyncWriter)):
        writer = kind.options(**options).remote()
        rsim.get(writer.write.remote())
        del writer
        marks.await_that(lambda: (tmp_path / "file").read_text() == "text")
        (tmp_path / "file").unlink()


@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_actor_may_end_in_its_constructor(rt, tmp_path, concurrency, asynchronous):
    class Brief:
        def __init__(self, folder):
            atexit.register(marks.leave, folder, "left")
            rsim.actor.exit_actor()

        def run(self):
            return "ran"

    class BriefAsync(Brief):
        async def wait(self):
            pass

    kind = rsim.remote(max_restarts=2)(BriefAsync if asynchronous else Brief)
    actor = kind.options(max_concurrency=concurrency).remote(tmp_path)
    with pytest.raises(ActorDiedError, match=r"exit_actor\(\)"):
        rsim.get(actor.run.remote())
    marks.await_marks(tmp_path, "left")


def test_an_actor_that_is_killed_does_not(rt, tmp_path):
    actor = Tidy.remote(tmp_path)
    rsim.get(actor.run.remote())
    rsim.kill(actor)
    assert is_dead(actor)
    assert marks.count(tmp_path, "tidied") == 0


def test_an_error_in_cleaning_up_is_no_more_than_told(rt):
    @rsim.remote
    class Untidy:
        async def run(self):
            return "ran"

        def __ray_shutdown__(self):
            raise ValueError("in the way")

    actor = Untidy.remote()
    assert rsim.get(actor.run.remote()) == "ran"
    actor.__ray_terminate__.remote()
    marks.await_that(lambda: is_dead(actor))


def test_an_actor_that_nobody_holds_is_not_created_for_ever(rt):
    @rsim.remote(max_restarts=-1)
    class Doomed:
        def __init__(self):
            os._exit(1)

    doomed = Doomed.options(name="doomed").remote()
    assert rsim.util.list_named_actors() == ["doomed"]
    time.sleep(0.05)  # user program: its creation fails again and again, and yet time passes
    del doomed
    assert holds_in_time(lambda: not rsim.util.list_named_actors())
