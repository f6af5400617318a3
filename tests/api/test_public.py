"""The names that `import rsim` gives."""

import subprocess
import sys
import tomllib
from pathlib import Path

import rsim

ROOT = Path(__file__).parents[2]


def test_public_names() -> None:
    assert set(rsim.__all__) == {
        "ActorClass",
        "ActorHandle",
        "DynamicObjectRefGenerator",
        "ObjectRef",
        "ObjectRefGenerator",
        "RemoteFunction",
        "RuntimeContext",
        "Session",
        "__version__",
        "available_resources",
        "cancel",
        "cluster_resources",
        "exceptions",
        "get",
        "get_actor",
        "get_gpu_ids",
        "get_runtime_context",
        "init",
        "is_initialized",
        "kill",
        "method",
        "nodes",
        "put",
        "remote",
        "shutdown",
        "timeline",
        "wait",
    }
    assert all(hasattr(rsim, name) for name in rsim.__all__)
    assert {"actor", "sim", "util"} <= set(dir(rsim))
    assert not hasattr(rsim, "missing")


def test_version_is_that_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert rsim.__version__ == project["version"]


def test_packages_are_imported_on_demand() -> None:
    program = (
        "import sys, rsim\n"
        "assert not {'rsim.sim', 'rsim.runtime.client', 'cloudpickle'} & sys.modules.keys()\n"
        "print(rsim.sim.Cluster(nodes=2).nodes, 'simpy' in sys.modules)\n"
        "print(rsim.util.scheduling_strategies.NodeAffinitySchedulingStrategy('n1', soft=True))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines() == [
        "2 False",
        "NodeAffinitySchedulingStrategy(node_id='n1', soft=True)",
    ]
