"""Rows of objects with numbers and times at the ends of what the CRD admits."""

import crdobjects
import pytest
import sqlalchemy as sa

from codexrun_core.registry.tables import runs
from codexrun_core.resources import CodexRun
from codexrun_core.runs.record import record_of, revision_of

SMALL = sorted(
    column.name
    for column in runs.columns
    if type(column.type) is sa.Integer and column.name != "seq"
)
BIG = sorted(
    column.name
    for column in runs.columns
    if type(column.type) is sa.BigInteger and column.name != "seq"
)


@pytest.mark.parametrize(
    "body", [pytest.param(body, id=name) for name, body in crdobjects.systematic(crdobjects.RUN)]
)
def test_every_number_of_a_row_fits_its_column_and_every_time_is_in_utc(
    body: crdobjects.Json,
) -> None:
    run = CodexRun.model_validate({"metadata": {}, **body})
    record = record_of(run)
    assert record.revision == revision_of(run)
    for names, limit in ((SMALL, 2**31), (BIG, 2**63)):
        for name in names:
            value = getattr(record, name)
            assert value is None or -limit <= value < limit, name
    for moment in (record.started_at, record.finished_at, record.created_at, record.updated_at):
        assert moment is None or moment.utcoffset().total_seconds() == 0
