"""Environment variables of jobs, tasks and actors; folders of jobs."""

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from threading import Lock

import pytest

import rsim
from rsim.util.scheduling_strategies import PlacementGroupSchedulingStrategy as In


def env_vars(**variables):
    return {"env_vars": variables}


def sees(*names):
    return [os.environ.get(name) for name in names]


see = rsim.remote(sees)


@rsim.remote
def change(name, value):
    os.environ[name] = value
    return os.environ[name]


@rsim.remote
def descend(depth, names, **options):
    """What a task sees that is `depth` tasks further down."""
    if depth == 0:
        return sees(*names)
    return rsim.get(descend.options(**options).remote(depth - 1, names))


class Plain:
    def sees(self, *names):
        return sees(*names)


@rsim.remote
class Place(Plain):
    def change(self, name, value):
        os.environ[name] = value

    def child_sees(self, *names):
        return rsim.get(see.remote(*names))

    def grandchild_sees(self, *names):
        return rsim.get(Place.remote().sees.remote(*names))

    def context(self):
        return rsim.get_runtime_context().runtime_env


@pytest.fixture
def one(init):
    """One CPU, so that tasks share a worker."""
    return init(num_cpus=1)


def test_a_task_has_its_variables_and_the_next_has_not(one):
    with_it = see.options(runtime_env=env_vars(RSIM_A="1"))
    assert rsim.get(with_it.remote("RSIM_A")) == ["1"]
    assert rsim.get(see.remote("RSIM_A")) == [None]
    assert "RSIM_A" not in os.environ


def test_options_of_the_decorator(one):
    decorated = rsim.remote(runtime_env=env_vars(RSIM_A="1"))(sees)
    assert rsim.get(decorated.remote("RSIM_A")) == ["1"]
    assert rsim.get(decorated.options(num_cpus=0.5).remote("RSIM_A")) == ["1"]
    assert rsim.get(decorated.options(runtime_env=None).remote("RSIM_A")) == ["1"]
    other = decorated.options(runtime_env=env_vars(RSIM_B="2"))
    assert rsim.get(other.remote("RSIM_A", "RSIM_B")) == [None, "2"]
    actor = rsim.remote(runtime_env=env_vars(RSIM_A="1"))(Plain).options(runtime_env={}).remote()
    assert rsim.get(actor.sees.remote("RSIM_A")) == ["1"]


def test_what_a_task_does_to_its_environment_stays_there(one):
    own = env_vars(RSIM_A="1")
    assert rsim.get(change.options(runtime_env=own).remote("RSIM_B", "2")) == "2"
    assert rsim.get(see.remote("RSIM_A", "RSIM_B")) == [None, None]
    gone = rsim.get(change.options(runtime_env=own).remote("RSIM_A", "3"))
    assert gone == "3" and rsim.get(see.remote("RSIM_A")) == [None]


def test_a_worker_does_not_change_the_drivers_environment(rt):
    assert rsim.get(change.remote("RSIM_A", "1")) == "1"
    assert "RSIM_A" not in os.environ and os.getenv("RSIM_A") is None


def test_two_actors_have_environments_of_their_own(rt):
    first, second = Place.remote(), Place.remote()
    rsim.get(first.change.remote("RSIM_A", "1"))
    assert rsim.get(first.sees.remote("RSIM_A")) == ["1"]
    assert rsim.get(second.sees.remote("RSIM_A")) == [None]


def test_an_actor_has_its_variables_for_life(rt):
    place = Place.options(runtime_env=env_vars(RSIM_A="1", RSIM_B="2")).remote()
    assert rsim.get(see.remote("RSIM_A")) == [None]
    assert rsim.get(place.sees.remote("RSIM_A", "RSIM_B")) == ["1", "2"]
    assert rsim.get(place.sees.remote("RSIM_A", "RSIM_B")) == ["1", "2"]


def test_a_restarted_actor_has_them_too(rt):
    place = Place.options(
        runtime_env=env_vars(RSIM_A="1"), max_restarts=1, max_task_retries=-1
    ).remote()
    rsim.kill(place, no_restart=False)
    assert rsim.get(place.sees.remote("RSIM_A")) == ["1"]


def test_children_inherit(rt):
    own = env_vars(RSIM_A="1")
    ref = descend.options(runtime_env=own).remote(2, ["RSIM_A"])
    assert rsim.get(ref) == ["1"]
    place = Place.options(runtime_env=own).remote()
    assert rsim.get(place.child_sees.remote("RSIM_A")) == ["1"]
    assert rsim.get(place.grandchild_sees.remote("RSIM_A")) == ["1"]


def test_a_childs_variables_are_added_to_its_parents(rt):
    ref = descend.options(runtime_env=env_vars(RSIM_A="1", RSIM_B="1")).remote(
        1, ["RSIM_A", "RSIM_B", "RSIM_C"], runtime_env=env_vars(RSIM_B="2", RSIM_C="2")
    )
    assert rsim.get(ref) == ["1", "2", "2"]


def test_variables_of_the_job(init):
    init(num_cpus=2, runtime_env=env_vars(RSIM_A="1", RSIM_B="1"))
    assert rsim.get(see.remote("RSIM_A")) == ["1"]
    assert rsim.get(Place.remote().sees.remote("RSIM_B")) == ["1"]
    both = see.options(runtime_env=env_vars(RSIM_B="2"))
    assert rsim.get(both.remote("RSIM_A", "RSIM_B")) == ["1", "2"]
    assert "RSIM_A" not in os.environ


def test_a_variable_may_be_made_of_others(init, monkeypatch):
    monkeypatch.setenv("RSIM_A", "a")
    init(num_cpus=1, runtime_env=env_vars(RSIM_B="${RSIM_A}:b"))
    own = env_vars(RSIM_A="${RSIM_A}:${RSIM_NONE}:$RSIM_B")
    ref = see.options(runtime_env=own).remote("RSIM_A", "RSIM_B")
    assert rsim.get(ref) == ["a::a:b", "a:b"]


def test_the_context_tells_them(init):
    init(num_cpus=2, runtime_env=env_vars(RSIM_A="1"))
    assert rsim.get_runtime_context().runtime_env == env_vars(RSIM_A="1")
    place = Place.options(runtime_env=env_vars(RSIM_B="2")).remote()
    found = rsim.get(place.context.remote())
    assert found == env_vars(RSIM_A="1", RSIM_B="2")
    assert found.env_vars() == found["env_vars"] and found.to_dict() == found


def test_without_variables_the_context_is_empty(rt):
    context = rsim.get_runtime_context()
    assert context.runtime_env == {} and context.get_runtime_env_string() == "{}"


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        (3, TypeError, "runtime_env must be a dict"),
        ({"env_vars": ["A"]}, TypeError, "must be of type Dict"),
        ({"env_vars": {"A": 1}}, TypeError, "'A': 1"),
        ({"env_vars": {"A=B": "1"}}, ValueError, "A=B"),
        ({"env_vars": {"A": "\ud800"}}, ValueError, "cannot set 'A'"),
        ({"pip": ["no-such-package"]}, NotImplementedError, "no-such-package"),
        ({"pip": ["cloudpickle==0.0.1"]}, NotImplementedError, "cloudpickle"),
        ({"uv": ["cloudpickle @ file:///cloudpickle.whl"]}, NotImplementedError, "uv"),
        ({"pip": "requirements.txt"}, NotImplementedError, "requirements.txt"),
        ({"py_executable": "no/such/python"}, NotImplementedError, "no/such/python"),
        ({"py_modules": ["s3://bucket/a.zip"]}, NotImplementedError, "py_modules"),
    ],
)
def test_what_is_no_environment_is_refused(init, given, kind, words):
    with pytest.raises(kind, match=words):
        rsim.remote(runtime_env=given)(sees)
    with pytest.raises(kind, match=words):
        Place.options(runtime_env=given)
    with pytest.raises(kind, match=words):
        init(runtime_env=given)
    assert not rsim.is_initialized()


def test_packages_that_are_installed_and_this_python_may_be_asked_for(init):
    exact = f"cloudpickle=={version('cloudpickle')}"
    here = {"py_executable": sys.executable}
    init(runtime_env={"pip": {"packages": ["cloudpickle", "msgspec[toml]"]}, **here})
    task = see.options(runtime_env={"uv": [exact], "env_vars": {"RSIM_A": "1"}, **here})
    assert rsim.get(task.remote("RSIM_A")) == ["1"]


def test_the_working_directory_may_be_the_present_one(rt):
    assert rsim.get(see.options(runtime_env={"working_dir": "."}).remote("RSIM_A")) == [None]
    with pytest.raises(NotImplementedError, match="working_dir"):
        see.options(runtime_env={"working_dir": "/"})


@rsim.remote
def here(name, module=None):
    return os.getcwd(), Path(name).read_text(), module and import_module(module).WORD


def test_workers_are_in_the_working_directory_of_the_job_and_import_from_it(init, tmp_path):
    (tmp_path / "data.txt").write_text("data")
    (tmp_path / "in_working_dir.py").write_text("WORD = 'found'")
    before, path = os.getcwd(), list(sys.path)
    init(runtime_env={"working_dir": str(tmp_path), "excludes": ["*.bin"]})
    found = rsim.get(here.remote("data.txt", "in_working_dir"))
    assert found == (str(tmp_path.resolve()), "data", "found")
    assert os.getcwd() == before
    rsim.get(rsim.remote(os.chdir).remote("/"))
    assert os.getcwd() == before
    rsim.shutdown()
    assert (os.getcwd(), sys.path) == (before, path)


def test_workers_know_the_arguments_of_the_program(rt):
    assert rsim.get(rsim.remote(lambda: sys.argv).remote()) == sys.argv


def test_a_worker_that_goes_to_another_folder_goes_alone(rt, tmp_path):
    @rsim.remote
    class Traveller:
        def go(self, folder):
            os.chdir(folder)

        def here(self):
            time.sleep(0.001)  # others run meanwhile
            return os.getcwd()

    at_home = os.getcwd()
    traveller, stays = Traveller.remote(), Traveller.remote()
    rsim.get([traveller.go.remote("/"), stays.here.remote()])
    assert rsim.get([each.here.remote() for each in (traveller, stays)]) == ["/", at_home]
    os.chdir(tmp_path)
    try:
        assert rsim.get([each.here.remote() for each in (traveller, stays)]) == ["/", at_home]
        assert Path.cwd() == tmp_path
    finally:
        os.chdir(at_home)


def test_an_actor_and_its_threads_are_in_the_working_directory(init, tmp_path):
    class Reader:
        def read(self, name):
            with ThreadPoolExecutor(1) as pool:
                return pool.submit(Path(name).read_text).result(), Path(name).read_text()

    (tmp_path / "data.txt").write_text("data")
    init(runtime_env={"working_dir": tmp_path})
    assert rsim.get(rsim.remote(Reader).remote().read.remote("data.txt")) == ("data", "data")
    assert not Path("data.txt").exists()


def test_the_working_directory_may_go_before_the_session(init, tmp_path):
    folder, before = tmp_path / "short-lived", os.getcwd()
    folder.mkdir()
    init(runtime_env={"working_dir": str(folder)})
    there = rsim.remote(os.getcwd).remote()
    assert rsim.get(there) == str(folder.resolve())
    waiting = rsim.remote(hold_on).remote([rsim.remote(abs).remote(-1), there])
    folder.rmdir()
    assert rsim.get(waiting) == 1
    rsim.shutdown()
    assert os.getcwd() == before


def hold_on(refs):
    return rsim.get(refs)[0]


def test_modules_of_the_job_can_be_imported(init, tmp_path):
    package = tmp_path / "packages" / "of_the_job"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("WORD = 'package'")
    single = tmp_path / "alone_in_the_job.py"
    single.write_text("WORD = 'alone'")
    init(runtime_env={"py_modules": [str(package), single]})
    words = [rsim.remote(word_of).remote(name) for name in ("of_the_job", "alone_in_the_job")]
    assert rsim.get(words) == ["package", "alone"]


def word_of(module):
    return import_module(module).WORD


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        ({"working_dir": "no/such/folder"}, ValueError, "existing directory"),
        ({"working_dir": 3}, TypeError, "must be a path"),
        ({"working_dir": "s3://bucket/a.zip"}, NotImplementedError, "only folders"),
        ({"working_dir": "s3://bucket/a"}, ValueError, "ends in .zip"),
        ({"config": 10}, TypeError, "config must be a dict"),
        ({"config": {"setup_timeout_seconds": 10.0}}, TypeError, "of type int, not 10.0"),
        ({"config": {"setup_timeout_seconds": 0}}, ValueError, "greater than zero"),
        ({"config": {"eager_install": "yes"}}, TypeError, "boolean"),
        ({"py_modules": "a"}, TypeError, "must be a list"),
        ({"py_modules": [sys]}, ValueError, "not a module of a file"),
        ({"py_modules": ["no/such/folder"]}, ValueError, "existing directory"),
    ],
)
def test_an_environment_of_the_job_that_is_none_is_refused(init, given, kind, words):
    with pytest.raises(kind, match=words):
        init(runtime_env=given)
    assert not rsim.is_initialized()


def test_a_threaded_actor_and_an_async_one_have_theirs(rt):
    class Async:
        async def sees(self, *names):
            return sees(*names)

    own = env_vars(RSIM_A="1")
    threaded = Place.options(max_concurrency=2, runtime_env=own).remote()
    loop = rsim.remote(Async).options(runtime_env=own).remote()
    assert rsim.get([threaded.sees.remote("RSIM_A"), loop.sees.remote("RSIM_A")]) == [["1"]] * 2


THREADS = "OMP_NUM_THREADS"


@pytest.fixture
def no_threads(monkeypatch):
    monkeypatch.delenv(THREADS, raising=False)


def test_libraries_compute_with_a_thread_for_each_cpu_of_the_task(no_threads, init):
    init(num_cpus=4)
    cpus = [1, 3, 0, 2.5, 0.5, 1]
    seen = rsim.get([see.options(num_cpus=each).remote(THREADS) for each in cpus])
    assert seen == [[threads] for threads in ("1", "3", "1", "2", "1", "1")]
    assert rsim.get(descend.options(num_cpus=3).remote(1, [THREADS])) == ["1"]
    actors = [Place.remote(), Place.options(num_cpus=2).remote()]
    assert rsim.get([each.sees.remote(THREADS) for each in actors]) == [["1"], ["2"]]
    assert rsim.get(actors[1].child_sees.remote(THREADS)) == ["1"]
    assert THREADS not in os.environ


def test_a_bundle_s_cpus_count_too(no_threads, init):
    init(num_cpus=3)
    group = rsim.util.placement_group([{"CPU": 2}])
    strategy = In(group)
    inside = see.options(num_cpus=2, scheduling_strategy=strategy)
    assert rsim.get(inside.remote(THREADS)) == ["2"]


def test_the_user_says_with_how_many_threads_libraries_compute(monkeypatch, init):
    monkeypatch.setenv(THREADS, "7")
    init(num_cpus=2)
    assert rsim.get(see.options(num_cpus=2).remote(THREADS)) == ["7"]


def test_a_task_s_variables_say_more_than_its_cpus(no_threads, init):
    init(num_cpus=2)
    own = see.options(num_cpus=2, runtime_env=env_vars(OMP_NUM_THREADS="7"))
    assert rsim.get(own.remote(THREADS)) == ["7"]
    assert rsim.get(see.options(num_cpus=2).remote(THREADS)) == ["2"]
    assert rsim.get(see.remote(THREADS)) == ["1"]


LOCK = Lock()


def set_up():
    os.environ["RSIM_MADE_BY"] = os.environ["RSIM_A"]


@pytest.mark.parametrize("as_path", [False, True])
def test_workers_begin_with_what_the_driver_says(init, as_path):
    hook = f"{__name__}.set_up" if as_path else set_up
    init(num_cpus=2, runtime_env={**env_vars(RSIM_A="1"), "worker_process_setup_hook": hook})
    assert rsim.get(see.remote("RSIM_MADE_BY")) == ["1"]
    assert rsim.get(Place.remote().sees.remote("RSIM_MADE_BY", "_RSIM_WORKER_SETUP")) == ["1", None]
    assert "RSIM_MADE_BY" not in os.environ


@pytest.mark.parametrize("hook", [lambda: sys.exit("no license"), "tests.no_such.hook"])
def test_a_beginning_that_fails_fails_all_tasks_and_actors(init, hook):
    init(num_cpus=1, runtime_env={"worker_process_setup_hook": hook})
    words = "setup hook.*(no license|No module named 'tests.no_such')"
    for _ in range(2):
        with pytest.raises(rsim.exceptions.RuntimeEnvSetupError, match=words):
            rsim.get(see.remote("RSIM_A"))
    with pytest.raises(rsim.exceptions.ActorDiedError, match=words):
        rsim.get(Place.remote().sees.remote())


@pytest.mark.parametrize(
    ("hook", "kind", "words"),
    [
        (lambda lock=LOCK: lock, rsim.exceptions.RuntimeEnvSetupError, "lock"),
        (lambda data=bytes(200_000): data, ValueError, "too large"),
        (3, TypeError, "worker_process_setup_hook"),
        ("no path", TypeError, "module.name"),
    ],
)
def test_a_beginning_that_cannot_be(init, hook, kind, words):
    with pytest.raises(kind, match=words):
        init(num_cpus=1, runtime_env={"worker_process_setup_hook": hook})
    assert not rsim.is_initialized()
