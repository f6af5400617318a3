"""Worker processes and shared memory on one machine; the driver embeds the node."""
