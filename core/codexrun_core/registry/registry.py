"""The registry's one class: written by the mirror, read by every screen and caller."""

from codexrun_core.registry.export.transfer import Transfer
from codexrun_core.registry.presence import Presence
from codexrun_core.registry.retention import Retention
from codexrun_core.registry.rows import Rows
from codexrun_core.registry.totals import Totals
from codexrun_core.registry.transitions import Transitions


class Registry(Transfer, Rows, Totals, Transitions, Presence, Retention):
    """All access to the database. Every method may raise Unavailable: nothing is known about what
    happened; as SchemaError: nothing was done."""
