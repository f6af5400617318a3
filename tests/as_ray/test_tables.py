"""What tests of Ray read from `ray._private.state`."""

from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("as_ray")


def test_tables() -> None:
    import ray
    from ray._private import state
    from ray._private.test_utils import wait_for_condition

    ray.init(num_cpus=2, resources={"disk": 1})

    @ray.remote(num_cpus=1)
    class Actor:
        def ready(self) -> Any:
            return ray.get_runtime_context().get_node_id()

    actor = Actor.options(name="one").remote()
    node = ray.get(actor.ready.remote())
    (told,) = state.actors().values()
    assert (told["Name"], told["State"], told["ActorClassName"]) == (
        "one",
        "ALIVE",
        "test_tables.<locals>.Actor",
    )
    assert told["Address"]["NodeID"] == node
    assert state.actors(actor_id=told["ActorID"]) == told and state.actors("00" * 20) == {}
    assert state.actors(actor_state_name="DEAD") == {}
    with pytest.raises(ValueError, match="'GONE' is not a valid actor state name"):
        state.actors(actor_state_name="GONE")
    job = ray.JobID.from_hex(ray.get_runtime_context().get_job_id())
    assert list(state.actors(job_id=job)) == [actor._actor_id.hex()]
    assert state.jobs()[0]["JobID"] == job.hex()
    assert state.total_resources_per_node()[node]["disk"] == 1
    assert state.available_resources_per_node()[node]["CPU"] == 1
    (resource,) = state.node_ids()
    assert ray.cluster_resources()[resource] == 1
    assert told["Pid"] in [int(each["pid"]) for each in state.workers().values()]
    ray.kill(actor)
    wait_for_condition(lambda: state.actors()[told["ActorID"]]["State"] == "DEAD")
