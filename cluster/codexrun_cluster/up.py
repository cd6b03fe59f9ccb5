"""What has to be done so that codexrun runs here? A plan of steps for each kind of cluster."""

import os
from pathlib import Path

from . import base, chart, fetch, gobuild, node, objects, packages, record
from .builders import PAUSE_REPOSITORY, Buildah, prune
from .chart import Client
from .choice import choose, look
from .command import Log
from .images import agent_image, control_image
from .kind import kind_steps
from .places import Places
from .progress import Progress
from .steps import Step, run_steps

NODE_PARTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "coredns")


def up(places: Places, wanted: str, progress: Progress) -> Client:
    """Cluster, images, chart, prompts. Safe to repeat: each step leaves alone what is already so. Returns the client.

    Raises:
        Failure: of the first step that could not.
    """
    packages.check_python()
    choice = choose(wanted, look(), os.environ)
    progress.line(f"cluster: {choice.kind} ({choice.why})")
    images: dict[str, str] = {}
    if choice.kind == "embedded":
        client = own_client(places)
        with record.machine_lock():
            record.refuse_other(record.load(), places.checkout)
            base.free_space(places)
            run_steps([*embedded_steps(places, images), *chart_steps(places, client, images)], places.logs, progress)
    else:
        client = Client("kubectl", "helm", None)
        if choice.kind == "kind":
            client = Client("kubectl", "helm", places.kubeconfig)
            steps = kind_steps(places, images)
        else:
            images.update(control=os.environ["IMAGE"], agent=os.environ["AGENT_IMAGE"])
            steps = [
                Step("images on the node", 1, lambda _: "given by IMAGE and AGENT_IMAGE"),
                Step("cluster", 1, lambda _: None),
            ]
        run_steps([*steps, *chart_steps(places, client, images)], places.logs, progress)
    write_env(places, choice.kind)
    progress.line(f"[{progress.elapsed():5.0f}s] codexrun is up. To use it in this shell:   . .cluster/env")
    return client


def own_client(places: Places) -> Client:
    """The kubectl and helm that the node's binary is."""
    return Client(places.bin / "kubectl", places.bin / "helm", places.kubeconfig)


def chart_steps(places: Places, client: Client, images: dict[str, str]) -> list[Step]:
    """Everything after "there is a kubeconfig and the images can be pulled": the same for every kind of cluster."""
    return [
        Step("Python environment", 40, lambda log: chart.virtual_environment(places, log), _client_packages()),
        Step(
            "install the chart",
            40,
            lambda log: chart.install(places, client, images["control"], images["agent"], log),
            ("cluster", "images on the node"),
        ),
        Step(
            "apply prompts and job types",
            5,
            lambda log: chart.apply_prompts(places, client, log),
            ("install the chart", "Python environment"),
        ),
    ]


def _client_packages() -> tuple[str, ...]:
    return ("Debian packages",) if Path("/usr/bin/apt-get").exists() else ()


def embedded_steps(places: Places, images: dict[str, str]) -> list[Step]:
    """The embedded node. The compiler has the cores for minutes; everything that downloads runs beside it."""
    pause = f"{PAUSE_REPOSITORY}:{gobuild.pause_binary(places).parent.name}"

    def control(log: Log) -> str:
        buildah = Buildah(places, log)
        python = base.python_version(base.base_tar(places))
        wheels = fetch.fetch_wheels(places, python, log)
        image = control_image(places, buildah.base(), python, log)
        images["control"] = image.name
        return f"wheels {wheels}; {buildah.build(image)}"

    def agent(log: Log) -> str:
        buildah = Buildah(places, log)
        image = agent_image(places, buildah.base(), log)
        images["agent"] = image.name
        return buildah.build(image)

    def load(log: Log) -> str:
        buildah = Buildah(places, log)
        buildah.pause(gobuild.pause_binary(places), pause)
        notes = [buildah.load(name) for name in (pause, images["control"], images["agent"])]
        prune(buildah, {pause, *images.values()})
        return "; ".join(dict.fromkeys(notes))

    def containerd(log: Log) -> str:
        note = node.prepare(places, log)
        node.write_containerd_settings(places, pause)
        return f"{note}; {node.start(places, 'containerd', log)}"

    def part(name: str, seconds: int, after: str) -> Step:
        return Step(name, seconds, lambda log: node.start(places, name, log), (after,))

    return [
        Step("Debian packages", 40, lambda log: packages.install(packages.CLIENT + packages.NODE, log)),
        Step("compile pause", 30, lambda log: gobuild.build_pause(places, log), () if gobuild.own_go() else _client_packages()),
        Step("compile the node binary", 400, lambda log: gobuild.build_node(places, log), ("compile pause",)),
        Step("fetch Codex", 30, lambda log: fetch.fetch_codex(places, log), ("Debian packages",)),
        Step("base root file system", 90, lambda log: base.build_base(places, log), ("Debian packages",)),
        Step("control image", 60, control, ("base root file system",)),
        Step("agent image", 60, agent, ("control image", "fetch Codex")),
        Step("containerd", 5, containerd, ("Debian packages",)),
        Step("images on the node", 40, load, ("agent image", "containerd", "compile pause")),
        Step(
            "certificates and settings",
            2,
            lambda log: node.write_settings(places, log),
            ("compile the node binary", "containerd"),
        ),
        part("etcd", 3, "certificates and settings"),
        part("kube-apiserver", 10, "etcd"),
        *(part(name, 5, "kube-apiserver") for name in NODE_PARTS if name not in ("etcd", "kube-apiserver", "coredns")),
        Step("rights and volumes", 5, lambda log: objects.apply(places, log), ("kube-apiserver",)),
        part("coredns", 5, "rights and volumes"),
        Step("cluster", 20, lambda log: node.await_node(places, log), ("rights and volumes", *NODE_PARTS)),
    ]


def write_env(places: Places, kind: str) -> None:
    """`. .cluster/env` makes kubectl, helm and the command line work in a shell. Mode 0600: it may hold a token."""
    lines = [f'export PATH="{places.bin}:{places.venv}/bin:$PATH"']
    if kind != "current":
        lines.append(f'export KUBECONFIG="{places.kubeconfig}"')
    places.state.mkdir(exist_ok=True)
    node.write_file(places.env, "\n".join(lines) + "\n", 0o600)
