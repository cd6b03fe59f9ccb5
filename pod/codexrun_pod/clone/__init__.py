"""The clone step: an init container of the trusted image, which ends before the agent begins."""
