"""The console: every run, one understood in ten seconds, many acted on. Server-rendered pages of
the api's process, under `/console`; they call what the REST facade calls, and work without
JavaScript."""
