"""The operator in a cluster in small, in any order of events (`small_cluster.py`)."""

import os

from hypothesis import settings
from small_cluster import SmallCluster

TestCluster = SmallCluster.TestCase
# The same few courses each time; CODEXRUN_EXAMPLES=1000 looks for new ones.
EXAMPLES = os.environ.get("CODEXRUN_EXAMPLES", "")
TestCluster.settings = settings(
    max_examples=int(EXAMPLES or 10),
    stateful_step_count=30,
    derandomize=not EXAMPLES,
    deadline=None,
    database=None,
)
