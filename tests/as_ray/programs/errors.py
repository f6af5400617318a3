"""What goes wrong, and how it is told."""

import os

import ray
from ray.exceptions import RayTaskError, TaskCancelledError, WorkerCrashedError

ray.init(num_cpus=2)


class Mine(Exception):
    def __init__(self, code, hint):
        super().__init__(code, hint)
        self.code, self.hint = code, hint


@ray.remote
def fail():
    raise Mine(7, "look there")


@ray.remote
def depends(value):
    return value


try:
    ray.get(fail.remote())
except Mine as error:
    print(error.code, error.hint, isinstance(error, RayTaskError), type(error.cause).__name__)
try:
    ray.get(depends.remote(fail.remote()))
except Mine as error:
    print("through", error.code)


@ray.remote(max_retries=1)
def die():
    os._exit(1)


try:
    ray.get(die.remote())
except WorkerCrashedError:
    print("crashed")


@ray.remote
def wait_for(refs):
    return ray.get(refs)


@ray.remote
def forever():
    import time

    while True:
        time.sleep(0.05)  # user program


blocked = forever.remote()
ray.wait([blocked], timeout=0.5)
ray.cancel(blocked)
try:
    ray.get(blocked)
except TaskCancelledError:
    print("cancelled")


@ray.remote(max_retries=3, retry_exceptions=[ZeroDivisionError])
def flaky(path):
    with open(path, "a") as file:
        file.write("x")
    if os.path.getsize(path) < 3:
        raise ZeroDivisionError
    return os.path.getsize(path)


path = os.path.join(os.environ.get("TMPDIR", "/tmp"), f"flaky-{os.getpid()}")
print(ray.get(flaky.remote(path)))
os.unlink(path)
for wrong in ({"num_cpus": -1}, {"num_returns": -1}, {"max_retries": -2}, {"no_such": 1}):
    try:
        ray.remote(**wrong)(fail._function)
    except ValueError:
        print("ValueError", *wrong)
try:
    fail()
except TypeError as error:
    print("cannot be called directly" in str(error))
try:
    ray.init()
except RuntimeError as error:
    print("ray.init" in str(error))
print(bool(ray.init(ignore_reinit_error=True)))
try:
    ray.init(local_mode=True)
except RuntimeError:
    print("no local mode")
