"""Named actors in namespaces."""

import ray

ray.init(num_cpus=2, namespace="here")


@ray.remote
class Store:
    def __init__(self):
        self.items = {}

    def put(self, key, value):
        self.items[key] = value

    def get(self, key):
        return self.items.get(key)


store = Store.options(name="store").remote()
ray.get(store.put.remote("a", 1))
print(ray.get(ray.get_actor("store").get.remote("a")))
try:
    Store.options(name="store").remote()
except ValueError:
    print("taken")
same = Store.options(name="store", get_if_exists=True).remote()
print(ray.get(same.get.remote("a")))
try:
    ray.get_actor("nobody")
except ValueError:
    print("nobody")
other = Store.options(name="store", namespace="there", lifetime="detached").remote()
ray.get(other.put.remote("a", 2))


@ray.remote
def look():
    return ray.get(ray.get_actor("store", namespace="there").get.remote("a"))


print(ray.get(look.remote()))
print(sorted(ray.util.list_named_actors()))
