"""Actors: state, handles, kills, restarts and errors."""

import ray

ray.init(num_cpus=4)


@ray.remote
class Counter:
    START = 5

    def __init__(self, value=0):
        self.value = value

    def increment(self, by=1):
        self.value += by
        return self.value

    @ray.method(num_returns=2)
    def both(self):
        return self.value, -self.value

    def fail(self):
        raise KeyError("nothing here")


counter = Counter.remote(Counter.START)
print(ray.get([counter.increment.remote() for _ in range(3)]))
print(ray.get(counter.both.remote()))


@ray.remote
def use(handle):
    return ray.get(handle.increment.remote(10))


print(ray.get(use.remote(counter)), ray.get(counter.increment.remote(0)))
try:
    ray.get(counter.fail.remote())
except KeyError as error:
    print(isinstance(error, ray.exceptions.RayTaskError))
try:
    Counter()
except TypeError as error:
    print("instantiated directly" in str(error))
try:
    counter.increment()
except TypeError as error:
    print(".remote()" in str(error))
try:
    Counter.remote(1, 2, 3)
except TypeError:
    print("too many arguments")
ray.kill(counter)
try:
    ray.get(counter.increment.remote())
except ray.exceptions.RayActorError as error:
    print(isinstance(error, ray.exceptions.ActorDiedError))


@ray.remote(max_restarts=1, max_task_retries=-1)
class Fragile:
    def __init__(self):
        self.calls = 0

    def call(self):
        self.calls += 1
        return self.calls


fragile = Fragile.remote()
print(ray.get(fragile.call.remote()))
ray.kill(fragile, no_restart=False)
print(ray.get(fragile.call.remote()))


@ray.remote
class Broken:
    def __init__(self):
        raise ValueError("cannot begin")

    def call(self):
        return 1


try:
    ray.get(Broken.remote().call.remote())
except ray.exceptions.RayActorError as error:
    print("cannot begin" in str(error))


@ray.remote
class Quits:
    def quit(self):
        ray.actor.exit_actor()


try:
    ray.get(Quits.remote().quit.remote())
except ray.exceptions.RayActorError:
    print("it has ended itself")
