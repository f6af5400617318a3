"""The peer rsim: its local backend with two CPUs."""

from benchmarks import tasks

if __name__ == "__main__":
    tasks.main("rsim", address="local", num_cpus=2)
