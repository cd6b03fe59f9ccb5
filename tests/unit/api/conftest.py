"""The stand of the api's tests, for every file here."""

from apistand import settings, stand, verdict_seconds

__all__ = ["settings", "stand", "verdict_seconds"]
