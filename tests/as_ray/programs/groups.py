"""Placement groups."""

import ray
from ray.util.placement_group import placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

ray.init(num_cpus=4)
group = placement_group([{"CPU": 1}, {"CPU": 2}], strategy="PACK")
ray.get(group.ready())
print(group.bundle_specs == [{"CPU": 1}, {"CPU": 2}], group.bundle_count, group.wait(60))


@ray.remote(num_cpus=1)
def inside():
    current = ray.util.get_current_placement_group()
    return current == group or current is not None


strategy = PlacementGroupSchedulingStrategy(placement_group=group, placement_group_bundle_index=1)
print(ray.get(inside.options(scheduling_strategy=strategy).remote()))
print(placement_group_table(group)["state"])
print(ray.get(ray.remote(num_cpus=1)(lambda: "outside").remote()))
remove_placement_group(group)
try:
    placement_group([])
except ValueError:
    print("no bundles")
