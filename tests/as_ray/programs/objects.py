"""Objects, refs, and what get, put and wait refuse."""

import numpy as np
import ray
from ray import ObjectRef

ray.init(num_cpus=2, object_store_memory=100 * 1024 * 1024)
ref: ObjectRef = ray.put({"a": [1, 2]})
print(ray.get(ref), isinstance(ref, ray.ObjectRef), ref == ref, len({ref, ref}))
array = np.arange(1_000_000)
stored = ray.put(array)


@ray.remote
def total(values, scale=1):
    return int(values.sum()) * scale


print(ray.get(total.remote(stored, scale=2)))
print(ray.get(stored).flags.writeable)


@ray.remote
def inner():
    return "inner"


@ray.remote
def outer():
    return inner.remote()


print(ray.get(ray.get(outer.remote())))


@ray.remote
def echo(refs):
    return refs


(back,) = ray.get(echo.remote([ref]))
print(back == ref)
for bad in (1, "text", None, (ref,)):
    try:
        ray.get(bad)
    except ValueError:
        print("no ref")
for call in (lambda: ray.wait(ref), lambda: ray.wait([1])):
    try:
        call()
    except TypeError:
        print("no list of refs")
try:
    ray.wait([ref, ref])
except ValueError:
    print("twice")
try:
    ray.put(ref)
except TypeError:
    print("a ref already")
print(ray.wait([]), ray.get([]))
