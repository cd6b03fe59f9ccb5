"""Bring codexrun up here: a plan of steps for each kind of cluster."""

import os

from codexrun_cluster import api_access, chart, packages
from codexrun_cluster.backends.choice import choose, inspect_machine
from codexrun_cluster.backends.embedded import embedded_steps
from codexrun_cluster.backends.kind import kind_steps
from codexrun_cluster.chart import Client
from codexrun_cluster.images import base_image
from codexrun_cluster.node import state
from codexrun_cluster.node import steps as node
from codexrun_cluster.paths import Paths
from codexrun_cluster.progress import Progress
from codexrun_cluster.step_runner import Step, run_steps


def up(paths: Paths, backend: str, progress: Progress) -> Client:
    """Bring up cluster, images, chart and prompts; return the client. Safe to repeat: each step
    leaves alone what is already so.

    Raises:
        LauncherError: of the first step that could not.
    """
    packages.check_python()
    choice = choose(backend, inspect_machine(), os.environ)
    progress.line(f"cluster: {choice.kind} ({choice.reason})")
    images: dict[str, str] = {}
    if choice.kind == "embedded":
        client = Client(paths.bin / "kubectl", paths.bin / "helm", paths.kubeconfig)
        with state.machine_lock():
            state.refuse_other(state.load(), paths.checkout)
            base_image.free_space(paths)
            _run(
                [*embedded_steps(paths, images), *chart_steps(paths, client, images)],
                paths,
                progress,
            )
    elif choice.kind == "kind":
        client = Client("kubectl", "helm", paths.kubeconfig)
        _run([*kind_steps(paths, images), *chart_steps(paths, client, images)], paths, progress)
    else:
        client = Client("kubectl", "helm", None)
        images.update(control=os.environ["IMAGE"], agent=os.environ["AGENT_IMAGE"])
        _run([*current_steps(), *chart_steps(paths, client, images)], paths, progress)
    write_env(paths, choice.kind, api_access.find(client))
    progress.line(
        f"[{progress.elapsed():5.0f}s] codexrun is up. To use it in this shell:   . .cluster/env"
    )
    return client


def _run(steps: list[Step], paths: Paths, progress: Progress) -> None:
    run_steps(steps, paths.logs, progress)


def current_steps() -> list[Step]:
    """A cluster that somebody else runs: only see that it answers."""
    return [
        Step("packages", 20, lambda log: packages.install(packages.ENVIRONMENT, log)),
        Step(
            "cluster",
            5,
            lambda log: log.run(
                ["kubectl", "version"], hint="set KUBECONFIG to a cluster that answers"
            ),
        ),
        Step("images on the node", 1, lambda _: "given by IMAGE and AGENT_IMAGE"),
    ]


def chart_steps(paths: Paths, client: Client, images: dict[str, str]) -> list[Step]:
    """Everything after "there is a kubeconfig and the images can be pulled": the same for every
    kind of cluster."""
    return [
        Step(
            "Python environment",
            15,
            lambda log: chart.virtual_environment(paths, log),
            ("packages",),
        ),
        Step(
            "install the chart",
            40,
            lambda log: chart.install(paths, client, images["control"], images["agent"], log),
            ("cluster", "images on the node"),
        ),
        Step(
            "apply prompts and job types",
            5,
            lambda log: chart.apply_prompts(paths, client, log),
            ("install the chart", "Python environment"),
        ),
    ]


def write_env(paths: Paths, kind: str, api: api_access.ApiAccess | None = None) -> None:
    """`. .cluster/env` makes kubectl, helm, curl and the command line work in a shell. Mode 0600:
    it holds a token."""
    lines = [f'export PATH="{paths.bin}:{paths.venv}/bin:$PATH"']
    if kind != "current":
        lines.append(f'export KUBECONFIG="{paths.kubeconfig}"')
    if api:
        # Elsewhere the Service's address does not answer on this machine.
        url = api.url if kind == "embedded" else f"http://127.0.0.1:{api_access.PORT}"
        lines += [
            f'export CODEX_CONTROL_URL="{url}"',
            f'export CODEX_CONTROL_TOKEN="{api.token}"',
        ]
        if kind != "embedded":
            forward = (
                f"kubectl port-forward -n {chart.NAMESPACE} service/{chart.RELEASE}-api"
                f" {api_access.PORT}"
            )
            lines.append(f"# reachable after: {forward}")
    paths.state.mkdir(exist_ok=True)
    node.write_file(paths.env, "\n".join(lines) + "\n", 0o600)
