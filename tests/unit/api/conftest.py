"""The stand of the api's tests, for every file here."""

from apistand import empty_registry, settings, stand, verdict_seconds

__all__ = ["empty_registry", "settings", "stand", "verdict_seconds"]
