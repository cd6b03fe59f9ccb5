"""What of the node runs right now."""

from codexrun_cluster.node.state import load
from codexrun_cluster.paths import Paths


def print_status(paths: Paths) -> int:
    """Print one line a component; 0 when all of this checkout's node is alive, 1 when not."""
    record = load()
    if record is None:
        print("no embedded node on this machine (make up starts one)")
        return 1
    print(f"node of {record.checkout}")
    for name, process in sorted(record.components.items()):
        state = "alive" if process.alive() else "DEAD"
        print(
            f"  {name:24} {state}  pid {process.pid}  log"
            f" {record.checkout}/.cluster/logs/{name}.log"
        )
    return (
        0
        if len(record.alive()) == len(record.components) and record.checkout == str(paths.checkout)
        else 1
    )
