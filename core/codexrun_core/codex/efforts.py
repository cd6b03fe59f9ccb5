"""The reasoning efforts that Codex sends to a model, which are not all that it can be set to. Pure.

Names: Codex 0.169 to 0.171, as its own list of models has them (tests/support/codex_offers.json).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

# Codex offers `ultra` and never sends it: models take it as `max` (gpt-6-sol) or `xhigh` (gpt-5.5,
# gpt-6-astra, gpt-6.1-terra, gpt-6.2-astra), and one that this Codex does not know as `medium`
# (gpt-6.2-astra in 0.169). Seen in its requests.
SENT_AS: Mapping[str, frozenset[str]] = {"ultra": frozenset({"max", "xhigh", "medium"})}

# What Codex uses where nobody names an effort: each of its models has one of these.
DEFAULTS = ("low", "medium")


def sent(allowed: Collection[str]) -> frozenset[str]:
    """Return what Codex may send where it is set to one of the `allowed` efforts: these, and what
    it makes of them."""
    return frozenset(allowed).union(*(SENT_AS.get(effort, ()) for effort in allowed))
