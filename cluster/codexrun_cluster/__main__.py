"""The launcher's commands; `make` calls them."""

import argparse
import os
import sys

from codexrun_cluster import demo
from codexrun_cluster.backends import kind
from codexrun_cluster.command import stop_children
from codexrun_cluster.errors import LauncherError, tail
from codexrun_cluster.node import clean, state
from codexrun_cluster.node.status import print_status
from codexrun_cluster.paths import find_paths
from codexrun_cluster.progress import Progress
from codexrun_cluster.team_images import fetch_only, make_images
from codexrun_cluster.up import up


def main() -> int:
    """Run one command; 0 when it did its work, 1 with what to type on stderr when not."""
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
    arguments = parser.parse_args()
    paths = find_paths()
    progress = Progress()
    try:
        if arguments.command == "status":
            return print_status(paths)
        if arguments.command == "down":
            down(arguments.cluster, progress)
        elif arguments.command == "image":
            make_images(paths, arguments.base_image, os.environ.get("REGISTRY", ""), progress)
        elif arguments.command == "codex":
            fetch_only(paths, progress)
        else:
            client = up(paths, arguments.cluster, progress)
            if arguments.command == "demo":
                return demo.run(paths, client)
    except LauncherError as error:
        report(error)
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
    paths = find_paths()
    progress.line("taking down what make up started (up to ~30s)")
    if cluster == "current":
        raise LauncherError(
            "CLUSTER=current: the cluster is yours and stays",
            "helm uninstall codexrun -n codexrun; kubectl delete namespace codexrun",
        )
    if os.geteuid() == 0 and os.uname().sysname == "Linux":
        with state.machine_lock():
            state.refuse_other(state.load(), paths.checkout)
            if kind.is_current(paths):
                kind.delete(paths)
            clean.take_down(paths)
    else:
        record = state.load()
        if record and record.checkout == str(paths.checkout) and record.alive():
            raise LauncherError("this checkout's embedded node runs as root", "sudo make down")
        kind.delete(paths)
    progress.line(f"down after {progress.elapsed():.1f}s; logs stay in {paths.logs}")


def report(error: LauncherError) -> None:
    """Print what happened, the end of the log that explains it, and the line to type."""
    print(f"\nerror: {error.message}", file=sys.stderr)
    if error.log:
        print(f"  the last lines of {error.log}:\n{tail(error.log)}", file=sys.stderr)
    if error.hint:
        print(f"  what to do: {error.hint}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
