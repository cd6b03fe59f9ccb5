"""The annotations that REST api and command line write on the runs that they make, and what others
read there."""

REQUESTED_BY = "codexrun.dev/requested-by"
ORIGIN = "codexrun.dev/origin"  # api, cli, console, kubectl
REQUEST_ID = "codexrun.dev/request-id"
# of the body, so that a repeated Idempotency-Key is held against it
REQUEST_SHA256 = "codexrun.dev/request-sha256"

# "true": nobody has been told of this run yet. If it is Rejected it never was: no row, and the
# object goes at once.
DELETE_IF_REJECTED = "codexrun.dev/delete-if-rejected"
