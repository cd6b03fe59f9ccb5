"""Follow a run: what happens becomes lines, shown as they come."""
