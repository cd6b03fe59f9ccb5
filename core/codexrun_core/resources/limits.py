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
                "Maximum number of tokens that the run may use (input and output, including"
                " cached ones); the gate stops the run at this number."
            ),
        ),
    ] = None
    max_cost_cents: Annotated[
        int | None,
        Field(
            ge=1,
            le=100_000_000,
            description=(
                "Maximum cost of the run in US cents; the gate stops the run when its cost"
                " reaches this amount. The model must have a known price."
            ),
        ),
    ] = None
    timeout_seconds: Annotated[
        int | None,
        Field(
            ge=1,
            le=7 * DAY,
            description="Maximum number of seconds that the agent may run, counted from its start.",
        ),
    ] = None
    stall_seconds: Annotated[
        int | None,
        Field(
            ge=1,
            le=DAY,
            description=(
                "Seconds without an event from Codex or the model after which the run is stopped;"
                " keep-alives from the model are not events. While a command runs, only"
                " timeoutSeconds applies."
            ),
        ),
    ] = None
    start_seconds: Annotated[
        int | None,
        Field(
            ge=1,
            le=DAY,
            description="Maximum number of seconds between the creation of the Job and the start of"
            " the agent.",
        ),
    ] = None

    max_wait_seconds: Annotated[
        int | None,
        Field(
            ge=1,
            le=DAY,
            description=(
                "Maximum total number of seconds that the run may wait while the provider"
                " limits requests and says when to retry; after that, the run fails. Waiting is"
                " not a stall, but counts towards timeoutSeconds."
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
