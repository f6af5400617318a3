"""A bare machine whose memory runs short."""

from rsim.core import effects as fx
from rsim.core import events
from rsim.core.ids import return_id
from rsim.core.records import ActorOptions
from tests.core.cluster import Cluster

SHORT = events.MemoryRanShort(990, 950)


def submit(cluster: Cluster, retries: int, creation: ActorOptions | None = None) -> bytes:
    spec = cluster.driver.spec((), (), retries, None, creation=creation)
    object_id = return_id(spec.task_id, 0)
    cluster.driver.lent((object_id,))
    cluster.step("n0", events.TaskSubmitted(0, spec))
    return object_id


def begun(cluster: Cluster) -> list[int]:
    """Which workers have a task that they have not begun to act out."""
    return [client for (_, client), queued in cluster.queued.items() if queued]


def start_all(cluster: Cluster, number: int) -> None:
    """Let the machine send so many tasks, which then wait in their workers."""
    while len(begun(cluster)) < number:
        lane = next(lane for lane, queue in cluster.channels.items() if queue)
        name, event = cluster.channels[lane].popleft()
        cluster.now += 1
        cluster.step(name, event)


def error_of(cluster: Cluster, object_id: bytes) -> str:
    cluster.step("n0", events.ObjectsRequested(0, 1000, (object_id,)))
    cluster.run()
    assert isinstance(cluster.answers.pop(1000), fx.ReplyObjects)
    error = cluster.errors.get(("n0", object_id))
    return "" if error is None else f"{error.kind}: {error.message}"


def test_nothing_to_end() -> None:
    cluster = Cluster(0, nodes=1)
    cluster.run()
    cluster.step("n0", SHORT)
    assert cluster.nodes["n0"].quiescent()


def test_a_task_that_may_be_retried_is_taken_first_and_runs_again_later() -> None:
    cluster = Cluster(0, nodes=1, cpus=2)
    retriable, other = submit(cluster, 1), submit(cluster, 0)
    start_all(cluster, 2)
    executions = cluster.executions
    cluster.step("n0", SHORT)
    cluster.step("n0", SHORT)  # the first victim is not gone yet
    assert len(begun(cluster)) == 1
    assert error_of(cluster, other) == ""
    assert cluster.now < 1_000_000_000 or executions.get(retriable[:16])
    assert error_of(cluster, retriable) == ""
    assert cluster.now > 1_000_000_000
    task_retries = executions[retriable[:16]]
    assert task_retries == 1


def test_it_costs_no_retry_however_often_it_happens() -> None:
    cluster = Cluster(0, nodes=1, cpus=1)
    task = submit(cluster, 1)
    for _ in range(5):
        while not begun(cluster):
            assert cluster.turn()
        cluster.step("n0", SHORT)
    assert error_of(cluster, task) == ""
    assert cluster.now > 31_000_000_000


def test_a_task_without_retries_fails_and_says_how_much_was_used() -> None:
    cluster = Cluster(0, nodes=1, cpus=1)
    task = submit(cluster, 0)
    start_all(cluster, 1)
    cluster.step("n0", SHORT)
    error = error_of(cluster, task)
    assert error.startswith("OutOfMemoryError")
    assert "990 of at most 950 bytes" in error


def test_a_kill_by_the_system_is_the_same() -> None:
    cluster = Cluster(0, nodes=1, cpus=1)
    task = submit(cluster, 0)
    start_all(cluster, 1)
    (client,) = begun(cluster)
    del cluster.queued["n0", client]
    cluster.step("n0", events.WorkerExited(client, "killed by signal 9", True))
    assert error_of(cluster, task).startswith("OutOfMemoryError")


def test_a_constructor_that_is_killed_is_the_actors_death() -> None:
    cluster = Cluster(0, nodes=1, cpus=1)
    actor = submit(cluster, 0, ActorOptions())
    start_all(cluster, 1)
    cluster.step("n0", SHORT)
    assert error_of(cluster, actor).startswith("ActorDiedError")


def test_a_task_that_pauses_can_be_cancelled() -> None:
    cluster = Cluster(0, nodes=1, cpus=1)
    task = submit(cluster, 1)
    start_all(cluster, 1)
    cluster.step("n0", SHORT)
    while any(cluster.channels.values()):
        cluster.turn()
    cluster.step("n0", events.CancelRequested(0, task, False, True))
    assert error_of(cluster, task).startswith("TaskCancelledError")
    assert cluster.nodes["n0"].quiescent()
