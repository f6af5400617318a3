"""Streaming generators."""

import ray

ray.init(num_cpus=2)


@ray.remote
def numbers(n):
    for i in range(n):
        yield 2 * i


print([ray.get(ref) for ref in numbers.remote(4)])
print(type(numbers.remote(1)).__name__)


@ray.remote(num_returns="streaming")
def fails():
    yield 1
    raise ValueError("in the middle")


stream = fails.remote()
print(ray.get(next(stream)))
try:
    ray.get(next(stream))
except ValueError as error:
    print(isinstance(error, ray.exceptions.RayTaskError))
try:
    next(stream)
except StopIteration:
    print("over")


@ray.remote
class Source:
    def items(self):
        yield "a"
        yield "b"


print([ray.get(ref) for ref in Source.remote().items.remote()])
