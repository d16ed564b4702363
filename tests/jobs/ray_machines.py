"""A Ray cluster for tests in a process of its own: a head without cores, which also serves ray://, and two nodes of one core each.

Ray ends a process, at once and without a word, that still asks a cluster a minute after that has gone: no test may share its process.
Prints its addresses as JSON. Each line that it then reads kills a node, adds another, and is answered. Ends with its stdin.
"""

from __future__ import annotations

import json
import socket
import sys
from contextlib import closing
from typing import Any

from ray.cluster_utils import Cluster

# quick to see that a node is gone: by default it takes a quarter of a minute
QUICK = {"health_check_initial_delay_ms": 5000, "health_check_period_ms": 1000, "health_check_failure_threshold": 4}
MEMORY = 80 << 20


def add_node(cluster: Cluster) -> Any:
    return cluster.add_node(num_cpus=1, node_ip_address="127.0.0.1", object_store_memory=MEMORY)


def main() -> None:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    cluster = Cluster()
    try:
        cluster.add_node(num_cpus=0, include_dashboard=False, node_ip_address="127.0.0.1", object_store_memory=MEMORY,
                         ray_client_server_port=port, _system_config=QUICK)  # fmt: skip
        nodes = [add_node(cluster), add_node(cluster)]
        print(json.dumps({"address": cluster.address, "url": f"ray://127.0.0.1:{port}"}), flush=True)
        for _ in sys.stdin:
            cluster.remove_node(nodes.pop(0), allow_graceful=False)
            nodes.append(add_node(cluster))
            print("replaced", flush=True)
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
