"""`python -m codexrun_cli` is `codexrun`."""

from codexrun_cli.main import app

app(prog_name="codexrun")
