"""The command line follows a log through an api that goes and comes back."""

import os
import subprocess
import sys

from lab import PATIENCE, Lab
from rest_facade import Facade


def test_following_survives_an_api_that_goes_and_comes_back(lab: Lab, facade: Facade) -> None:
    run = lab.phase(lab.run(lab.job_type(), "sleep-20"), "Running")
    words = ("logs", "-f", "--raw", run["metadata"]["name"])
    # Unbuffered: communicate reads past what a buffer of readline holds.
    follower = subprocess.Popen(
        [sys.executable, "-m", "codexrun_cli", *words],
        env={**os.environ, **lab.env, "XDG_CONFIG_HOME": "/nowhere"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    )
    assert follower.stdout
    first = follower.stdout.readline()
    lab.kubectl("delete", "pod", "-l", "app.kubernetes.io/component=api", "--grace-period=1")
    lab.kubectl("rollout", "status", "deployment/codexrun-api", "--timeout=120s")
    out, err = follower.communicate(timeout=PATIENCE)
    assert follower.returncode == 0, err
    facade.until(run, "succeeded", log_closed=True)
    assert first + out == facade.log(run)
    assert b"connection lost, reconnecting..." in err
