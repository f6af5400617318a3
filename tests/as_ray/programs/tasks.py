"""Tasks: options, waiting, nesting, timeouts."""

import time

import ray

ray.init(num_cpus=4)


@ray.remote
def square(x):
    return x * x


@ray.remote(num_returns=3)
def three():
    return 0, 1, 2


@ray.remote(num_cpus=0.5, max_retries=2)
def add(a, b=10):
    return a + b


print(ray.get([square.remote(i) for i in range(4)]))
print(ray.get(three.remote()))
print(ray.get(add.remote(square.remote(3), b=square.remote(4))))
print(ray.get(add.options(num_cpus=1, name="sum").remote(1)))


@ray.remote
def nested(refs):
    return [type(ref).__name__ for ref in refs], sum(ray.get(refs))


print(ray.get(nested.remote([square.remote(1), square.remote(2)])))


@ray.remote
def slow(i):
    time.sleep(0.05 * i)  # user program
    return i


pending = [slow.remote(i) for i in (3, 1, 2)]
order = []
while pending:
    (done,), pending = ray.wait(pending)
    order.append(ray.get(done))
print(sorted(order))
ready, rest = ray.wait([slow.remote(0), slow.remote(40)], num_returns=1, timeout=30)
print(len(ready), len(rest))
try:
    ray.get(slow.remote(60), timeout=0.1)
except ray.exceptions.GetTimeoutError as error:
    print(isinstance(error, TimeoutError), isinstance(error, ray.exceptions.RayError))


@ray.remote(num_returns=0)
def nothing():
    pass


print(nothing.remote())
print(ray.is_initialized())
ray.shutdown()
print(ray.is_initialized())
