"""The operator in a cluster in small, in any order of events (`hostile_cluster.py`)."""

import os

from hostile_cluster import CrowdedCluster, HostileCluster
from hypothesis import settings

# The same few courses each time; CODEXRUN_EXAMPLES=1000 looks for new ones.
EXAMPLES = os.environ.get("CODEXRUN_EXAMPLES", "")
MAX_CROWD = 2000 if EXAMPLES else 200


def courses(examples: int) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=30,
        derandomize=not EXAMPLES,
        deadline=None,
        database=None,
    )


class Crowded(CrowdedCluster):
    most = MAX_CROWD


TestCluster = HostileCluster.TestCase
TestCluster.settings = courses(int(EXAMPLES or 10))
TestCrowd = Crowded.TestCase
TestCrowd.settings = courses(max(2, int(EXAMPLES or 0) // 30))
