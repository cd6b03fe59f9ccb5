"""The gate: the only way from a run's pod to the model. It holds the key, meters, caps and
refuses."""
