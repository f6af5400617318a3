"""What `import ray` finds in a Python that was started by a program which runs as Ray.

Decides nothing: it installs rsim in its own place.
"""

import sys

import rsim.as_ray

del sys.modules["ray"]
rsim.as_ray.install()
__import__("ray")
