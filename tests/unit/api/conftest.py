"""The stand of the api's tests, for every file here."""

from apistand import settings, stand

__all__ = ["settings", "stand"]
