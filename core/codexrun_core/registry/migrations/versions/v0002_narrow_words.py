"""The word index of Postgres in a narrow table of its own: counting the hits of a common word read
every wide row."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

UP = (
    """CREATE TABLE run_words (
        seq bigint PRIMARY KEY REFERENCES runs ON DELETE CASCADE,
        run_id text NOT NULL, created_at timestamptz NOT NULL, status text NOT NULL, job_type text \
NOT NULL,
        words tsvector NOT NULL)""",
    """INSERT INTO run_words
        SELECT seq, run_id, created_at, status, job_type, array_to_tsvector(string_to_array(words, \
' ')) FROM runs""",
    "DROP INDEX ix_runs_words",
    "DROP FUNCTION run_words(text)",
    "CREATE INDEX ix_run_words ON run_words USING gin (words)",
    """ALTER TABLE run_words SET (autovacuum_vacuum_scale_factor = 0.02, \
autovacuum_vacuum_insert_scale_factor = 0.02,
        autovacuum_analyze_scale_factor = 0.02)""",
    """CREATE FUNCTION keep_run_words() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN
        INSERT INTO run_words VALUES (NEW.seq, NEW.run_id, NEW.created_at, NEW.status, NEW.job_type,
            array_to_tsvector(string_to_array(NEW.words, '' '')))
        ON CONFLICT (seq) DO UPDATE SET created_at = excluded.created_at, status = excluded.status,
            job_type = excluded.job_type, words = excluded.words;
        RETURN NULL; END'""",
    (
        "CREATE TRIGGER runs_words_added AFTER INSERT ON runs FOR EACH ROW EXECUTE FUNCTION"
        " keep_run_words()"
    ),
    """CREATE TRIGGER runs_words_changed AFTER UPDATE ON runs FOR EACH ROW
        WHEN ((old.created_at, old.status, old.job_type, old.words) <> (new.created_at, \
new.status, new.job_type, new.words))
        EXECUTE FUNCTION keep_run_words()""",
)
DOWN = (
    "DROP TRIGGER runs_words_changed ON runs",
    "DROP TRIGGER runs_words_added ON runs",
    "DROP FUNCTION keep_run_words()",
    "DROP TABLE run_words",
    """CREATE FUNCTION run_words(words text) RETURNS tsvector LANGUAGE plpgsql IMMUTABLE STRICT \
PARALLEL SAFE COST 100
        AS 'BEGIN RETURN array_to_tsvector(string_to_array(words, '' '')); END'""",
    "CREATE INDEX ix_runs_words ON runs USING gin (run_words(words))",
)


def upgrade() -> None:
    _run(UP)


def downgrade() -> None:
    _run(DOWN)


def _run(statements: tuple[str, ...]) -> None:
    if op.get_context().dialect.name == "postgresql":
        for statement in statements:
            op.execute(statement)
