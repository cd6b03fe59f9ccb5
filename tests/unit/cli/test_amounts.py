"""What of its limits a run has used: what is not known is not 0%."""

from typing import Any, cast

import pytest

from codexrun_cli.output.usage import budget, money_used, tokens_used
from codexrun_cli.transports.schemas import Run

LIMITS = {"max_tokens": 1000, "max_cost_cents": 50}
NOTHING = {"total_tokens": 0, "complete": False}


@pytest.mark.parametrize(
    ("run", "text", "moving"),
    [
        ({"usage": NOTHING}, "0% of 1000 tokens, 0% of $0.50", "0/1000 tokens (0%)"),
        (
            {"usage": NOTHING, "started_at": "2026-01-31T12:00:00Z"},
            "1000 tokens, $0.50 (usage unknown so far)",
            "",
        ),
        (
            {
                "usage": {"total_tokens": 500, "cost_micro_usd": 1, "complete": False},
                "started_at": "2026-01-31T12:00:00Z",
            },
            "50% of 1000 tokens, 0% of $0.50",
            "500/1000 tokens (50%)",
        ),
    ],
)
def test_budget(run: dict[str, Any], text: str, moving: str) -> None:
    of = cast(Run, run)
    assert (budget(of, LIMITS), tokens_used(of, LIMITS)) == (text, moving)
    assert bool(money_used(of, LIMITS)) is bool(moving)
    assert budget(of, {}) == ""
