"""StateApiClient."""

import pytest

pytestmark = pytest.mark.usefixtures("as_ray")


def test_things_are_listed_got_and_summed_up_by_their_kind() -> None:
    import ray
    from ray.util.state import StateApiClient, common, list_tasks
    from ray.util.state.common import StateResource, SummaryResource

    ray.init(num_cpus=1)

    @ray.remote
    def once() -> int:
        return 1

    ref = once.remote()
    assert ray.get(ref) == 1
    client = StateApiClient()
    options = common.ListApiOptions(filters=[("name", "=", "once")], detail=True)
    (task,) = client.list(StateResource.TASKS, options, raise_on_missing_output=True)
    assert [task] == list_tasks(detail=True)
    assert client.get(StateResource.TASKS, task.task_id, common.GetApiOptions()) == task
    assert client.get(StateResource.ACTORS, "00") is None
    told = client.summary(SummaryResource.TASKS, options=common.SummaryApiOptions())
    assert told["cluster"]["summary"]["once"]["state_counts"] == {"FINISHED": 1}
    assert client.list(StateResource.NODES, common.ListApiOptions())[0].state == "ALIVE"
    with pytest.raises(NotImplementedError, match="RUNTIME_ENVS"):
        client.list(StateResource.RUNTIME_ENVS, common.ListApiOptions())
    with pytest.raises(NotImplementedError, match="summary_by"):
        by_lineage = common.SummaryApiOptions(summary_by="lineage")
        client.summary(SummaryResource.TASKS, options=by_lineage)
