"""The launcher's commands; `make` calls them."""

import argparse
import os
import sys

from codexrun_cluster import demo
from codexrun_cluster.backends import kind
from codexrun_cluster.command import stop_children
from codexrun_cluster.errors import Failure, tail
from codexrun_cluster.images.make_images import fetch_only, make_images
from codexrun_cluster.node import clean, state
from codexrun_cluster.node.status import print_status
from codexrun_cluster.paths import places
from codexrun_cluster.progress import Progress
from codexrun_cluster.up import up


def main() -> int:
    """Run one command; 0 when it did what was asked, 1 with the way out on stderr when not."""
    parser = argparse.ArgumentParser(prog="codexrun_cluster", description=__doc__)
    parser.add_argument("command", choices=["up", "down", "status", "demo", "image", "codex"])
    parser.add_argument(
        "--cluster",
        default=os.environ.get("CLUSTER") or "auto",
        help="auto, embedded, kind or current",
    )
    parser.add_argument(
        "--base-image", default=os.environ.get("BASE_IMAGE", ""), help="for image: what to build on"
    )
    given = parser.parse_args()
    here, progress = places(), Progress()
    try:
        if given.command == "status":
            return print_status(here)
        if given.command == "down":
            down(given.cluster, progress)
        elif given.command == "image":
            make_images(here, given.base_image, os.environ.get("REGISTRY", ""), progress)
        elif given.command == "codex":
            fetch_only(here, progress)
        else:
            client = up(here, given.cluster, progress)
            if given.command == "demo":
                return demo.run(here, client)
    except Failure as failure:
        report(failure)
        return 1
    except KeyboardInterrupt:
        stop_children()
        print(
            "\ninterrupted; what is up stays up: make up goes on from here, make down removes it",
            file=sys.stderr,
        )
        return 130
    return 0


def down(cluster: str, progress: Progress) -> None:
    """Remove what `up` started, of whichever kind it was."""
    here = places()
    progress.line("taking down what make up started (up to ~30s)")
    if cluster == "current":
        raise Failure(
            "CLUSTER=current: the cluster is yours and stays",
            "helm uninstall codexrun -n codexrun; kubectl delete namespace codexrun",
        )
    if os.geteuid() == 0 and os.uname().sysname == "Linux":
        with state.machine_lock():
            state.refuse_other(state.load(), here.checkout)
            kind.delete(here) if kind.made_it(here) else None
            clean.take_down(here)
    else:
        known = state.load()
        if known and known.checkout == str(here.checkout) and known.alive():
            raise Failure("this checkout's embedded node runs as root", "sudo make down")
        kind.delete(here)
    progress.line(f"down after {progress.elapsed():.1f}s; logs stay in {here.logs}")


def report(failure: Failure) -> None:
    """What happened, the end of the log that explains it, and the line to type."""
    print(f"\nerror: {failure.what}", file=sys.stderr)
    if failure.log:
        print(f"  the last lines of {failure.log}:\n{tail(failure.log)}", file=sys.stderr)
    if failure.way_out:
        print(f"  what to do: {failure.way_out}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
