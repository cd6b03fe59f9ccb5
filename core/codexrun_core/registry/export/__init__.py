"""The registry as a file of JSON lines, out and in again."""
