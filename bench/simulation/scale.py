"""How much is measured: all of it, or a hundredth, to see that the measurement works; and how
often."""

import os

SMALL_ENV = "CODEXRUN_BENCH_SMALL"
ROUNDS_ENV = "CODEXRUN_BENCH_ROUNDS"


def is_small() -> bool:
    return bool(os.environ.get(SMALL_ENV))


def count(full: int) -> int:
    """Return how many runs are made where a whole measurement makes `full`."""
    return max(5, full // 100) if is_small() else full


def rounds(full: int) -> int:
    return 1 if is_small() else int(os.environ.get(ROUNDS_ENV) or full)


def seconds(full: float) -> float:
    return full / 20 if is_small() else full
