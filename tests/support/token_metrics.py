"""What the operator's metrics say of tokens and cost."""

from prometheus_client import REGISTRY

KIND_OF_FIELD = {  # of usage, as a gate reports it: the label token_type
    "inputTokens": "input",
    "cachedInputTokens": "cached_input",
    "outputTokens": "output",
    "reasoningTokens": "reasoning_output",
}


def metered() -> dict[str, int]:
    """So far, of job type hello; input and output are the whole of the tokens."""
    labels = {"namespace": "codexrun", "job_type": "hello", "model": "gpt-5.5"}
    found = {
        field: int(
            REGISTRY.get_sample_value("codexrun_tokens_total", {**labels, "token_type": kind}) or 0
        )
        for field, kind in KIND_OF_FIELD.items()
    }
    cost = REGISTRY.get_sample_value("codexrun_cost_usd_total", labels)
    return {**found, "costMicroUSD": round((cost or 0) * 1_000_000)}
