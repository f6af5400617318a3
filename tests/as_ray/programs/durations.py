import time

import ray

ray.init(num_cpus=2)


@ray.remote
def nap(seconds):
    began = time.time()
    time.sleep(seconds)
    return time.time() - began


began = time.time()
print([duration >= 0.1 for duration in ray.get([nap.remote(0.1) for _ in range(4)])])
print(time.time() - began > 0.2)
