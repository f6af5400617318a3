"""ray.experimental.get_object_locations."""

import pytest


@pytest.mark.usefixtures("as_ray")
def test_the_nodes_that_have_an_object_in_their_store() -> None:
    import ray
    from ray.experimental import get_local_object_locations, get_object_locations

    with pytest.raises(RuntimeError, match="hasn't been initialized"):
        get_object_locations([])
    ray.init(num_cpus=1)
    here = ray.get_runtime_context().get_node_id()
    large = ray.put(bytes(1_000_000))
    put, small = ray.put(1), ray.remote(abs).remote(-1)
    ray.get(small)
    never = ray.remote(resources={"none": 1})(abs).remote(-1)
    found = get_object_locations([large, put, small, never])
    assert found[put]["node_ids"] == [here]
    assert found[large]["node_ids"] == [here]
    assert found[large]["object_size"] > 1_000_000
    assert found[small]["node_ids"] == []
    assert found[small]["object_size"] > 0
    assert found[never] == {"node_ids": [], "object_size": None, "did_spill": False}
    assert get_local_object_locations([large]) == {large: found[large]}
    assert get_object_locations([]) == {}
