"""The runner: PID 1 of the agent's container. It starts Codex, watches it, ends it, and reports
what it did.

Standard library only, Python 3.9 and newer: it runs in images that teams build on their own base.
"""
