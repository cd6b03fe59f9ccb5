"""The chain of schema versions, each with its way back."""
