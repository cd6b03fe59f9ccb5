"""The name of an attempt's Job: the operator makes it so, and the api holds a pod's controller to
it. Pure."""


def job_name(run: str, uid: str, attempt: int) -> str:
    """Derived from uid and attempt, so that "already exists" means "done before"; the run's name is
    for people."""
    return f"{run[:40].rstrip('-.')}-{uid[:8]}-{attempt}"
