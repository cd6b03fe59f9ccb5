"""The annotations that codexrun sets, each key once: on runs, on the Jobs and pods of their
attempts, and on the ConfigMaps of prompts."""

# On a run, from whoever made it.
REQUESTED_BY = "codexrun.dev/requested-by"
ORIGIN = "codexrun.dev/origin"  # api, cli, console, kubectl
REQUEST_ID = "codexrun.dev/request-id"
# of the body, so that a repeated Idempotency-Key is held against it
REQUEST_SHA256 = "codexrun.dev/request-sha256"

# "true": nobody has been told of this run yet. If it is Rejected it never was: no row, and the
# object goes at once.
DELETE_IF_REJECTED = "codexrun.dev/delete-if-rejected"

# On an attempt's Job, from the operator: with what the run was admitted.
ADMITTED_WITH = "codexrun.dev/admitted-with"
# On an attempt's pod: the managed policy of Codex, requirements.toml, is a file from here:
# read-only for the agent, and no object of its own.
CODEX_REQUIREMENTS = "codexrun.dev/codex-requirements"

# On the ConfigMap of a prompt's version.
PROMPT_SHA256 = "codexrun.dev/sha256"
PROMPT_OWNER = "codexrun.dev/owner"
PROMPT_UPDATED_AT = "codexrun.dev/updated-at"
