"""A Ray cluster of two nodes on this machine, in a process of its own: ray is imported in no test.

    python -m tests.plugins.ray_cluster FOLDER

prints `ADDRESS HEAD NODE PID`: where its head answers, the ids of the two nodes, and the process of
the second one's raylet. It ends, with all of it, when its standard input does.
"""

from __future__ import annotations

import os
import sys


def main(folder: str) -> None:
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    os.environ["RAY_TMPDIR"] = folder
    os.environ["PYTHONPATH"] = os.pathsep.join(entry for entry in sys.path if entry)
    says = os.dup(1)
    os.dup2(2, 1)
    from ray.cluster_utils import Cluster

    common = {"num_cpus": 2, "object_store_memory": 80 << 20, "resources": {"slot": 1}}
    head = {**common, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    other = cluster.add_node(**common)
    cluster.wait_for_nodes()
    ids = [node.node_id[:12] for node in (cluster.head_node, other)]
    (raylet,) = other.all_processes["raylet"]
    os.write(says, f"{cluster.address} {' '.join(ids)} {raylet.process.pid}\n".encode())
    sys.stdin.read()


if __name__ == "__main__":
    from harness.lifeline import fork_guarded

    fork_guarded(os.getppid())
    main(sys.argv[1])
    os._exit(0)
