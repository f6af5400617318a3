"""Functions and classes that refer to themselves; an actor pool."""

import ray
from ray.util import ActorPool


@ray.remote
def fib(n):
    if n < 2:
        return n
    return sum(ray.get([fib.remote(n - 1), fib.remote(n - 2)]))


@ray.remote
def with_import(n):
    import ray as again

    return again.get(fib.remote(n))


@ray.remote
class Tree:
    def __init__(self, depth):
        self.children = [Tree.remote(depth - 1) for _ in range(2)] if depth else []

    def count(self):
        return 1 + sum(ray.get([child.count.remote() for child in self.children]))


ray.init(num_cpus=2)
print(ray.get(with_import.remote(6)))
print(ray.get(Tree.remote(2).count.remote()))


@ray.remote
class Worker:
    def double(self, x):
        return 2 * x


pool = ActorPool([Worker.remote(), Worker.remote()])
print(list(pool.map(lambda actor, x: actor.double.remote(x), [1, 2, 3, 4])))
print(sorted(pool.map_unordered(lambda actor, x: actor.double.remote(x), [1, 2, 3, 4])))
