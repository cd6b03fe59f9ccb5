"""The limits of a run, of its job type, and those that hold where a job type names none."""

from typing import Annotated

from pydantic import Field

from codexrun_core.resources.fields import DAY, Part


class Limits(Part):
    """Bounds of a run. In a job type they are the ceiling and the default; a run may only lower
    them."""

    max_tokens: Annotated[
        int | None,
        Field(
            ge=1,
            le=10_000_000_000,
            description=(
                "Tokens (input and output, cached ones included) the run may use; the gate stops it"
                " there."
            ),
        ),
    ] = None
    max_cost_cents: Annotated[
        int | None,
        Field(
            ge=1,
            le=100_000_000,
            description=(
                "US cents the run may cost; the gate stops it there. The model needs a known price."
            ),
        ),
    ] = None
    timeout_seconds: Annotated[
        int | None,
        Field(ge=1, le=7 * DAY, description="Seconds the agent may run, counted from its start."),
    ] = None
    stall_seconds: Annotated[
        int | None,
        Field(
            ge=1,
            le=DAY,
            description=(
                "Seconds without an event from Codex and without one from the model before the run"
                " is stopped; the model's keep-alives are not such events. While a command runs"
                " only timeoutSeconds counts."
            ),
        ),
    ] = None
    start_seconds: Annotated[
        int | None,
        Field(
            ge=1,
            le=DAY,
            description="Seconds from the creation of the Job until the agent must be running.",
        ),
    ] = None

    max_wait_seconds: Annotated[
        int | None,
        Field(
            ge=1,
            le=DAY,
            description=(
                "Seconds that the run may wait in all for a provider that limits requests and names"
                " a time; beyond that it fails. Waiting is no stall, and counts for timeoutSeconds."
            ),
        ),
    ] = None

    def within(self, ceiling: "Limits | None") -> "Limits":
        """Return these limits where they are given, else those of the ceiling; for a run that
        admission has let through."""
        return (ceiling or Limits()).model_copy(update=self.model_dump(exclude_none=True))


# What holds where neither the run nor its job type says.
DEFAULT_LIMITS = Limits(
    timeout_seconds=3600, stall_seconds=600, start_seconds=600, max_wait_seconds=120
)
