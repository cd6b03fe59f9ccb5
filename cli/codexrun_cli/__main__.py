"""`python -m codexrun_cli` is `codexrun`."""

from codexrun_cli.main import main

main()
