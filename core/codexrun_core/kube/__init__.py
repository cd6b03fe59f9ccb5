"""The apiserver as operator and api see it: the few calls, and list-and-watch."""
