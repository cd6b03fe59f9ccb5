"""How many of the faults a run of the tests takes: all, or a sample by a seed."""

import os
import random

WHOLE = os.environ.get("CODEXRUN_FAULTS") == "all"
SEED = int(os.environ.get("CODEXRUN_SEED") or random.SystemRandom().randrange(10_000))
