"""The steps that bring up the embedded node."""

from codexrun_cluster import packages
from codexrun_cluster.command import Log
from codexrun_cluster.images import base_image, codex, wheels
from codexrun_cluster.images.builders import PAUSE_REPOSITORY, Buildah, prune
from codexrun_cluster.images.contents import agent_image, control_image
from codexrun_cluster.node import gobuild, objects, steps
from codexrun_cluster.paths import Paths
from codexrun_cluster.step_runner import Step

NODE_COMPONENTS = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "coredns",
)


def embedded_steps(paths: Paths, images: dict[str, str]) -> list[Step]:
    """Return the steps of the embedded node. The compiler has the cores for minutes; everything
    that downloads runs beside it."""
    pause = f"{PAUSE_REPOSITORY}:{gobuild.pause_binary(paths).parent.name}"

    def control(log: Log) -> str:
        buildah = Buildah(paths, log)
        python = base_image.python_version(base_image.base_tar(paths))
        note = wheels.fetch_wheels(paths, python, log)
        image = control_image(paths, buildah.base(), python, log)
        images["control"] = image.name
        return f"wheels {note}; {buildah.build(image)}"

    def agent(log: Log) -> str:
        buildah = Buildah(paths, log)
        image = agent_image(paths, buildah.base(), log)
        images["agent"] = image.name
        return buildah.build(image)

    def load(log: Log) -> str:
        buildah = Buildah(paths, log)
        buildah.program(pause, gobuild.pause_binary(paths), "/pause")
        notes = [buildah.load(name) for name in (pause, images["control"], images["agent"])]
        prune(buildah, {pause, *images.values()})
        return "; ".join(dict.fromkeys(notes))

    def containerd(log: Log) -> str:
        note = steps.prepare(paths, log)
        steps.write_containerd_settings(paths, pause)
        return f"{note}; {steps.start(paths, 'containerd', log)}"

    def component(name: str, seconds: int, after: str) -> Step:
        return Step(name, seconds, lambda log: steps.start(paths, name, log), (after,))

    return [
        # Python's first: all that Go needs, which everything else waits for in the end.
        Step("packages for Python", 15, lambda log: packages.install(packages.ENVIRONMENT, log)),
        Step(
            "packages",
            40,
            lambda log: packages.install(packages.CLIENT + packages.NODE, log),
            ("packages for Python",),
        ),
        Step(
            "Go",
            20,
            lambda log: gobuild.find_go(paths, log),
            () if gobuild.installed_go() else ("packages for Python",),
        ),
        Step("fetch Go modules", 30, lambda log: gobuild.fetch_modules(paths, log), ("Go",)),
        Step("compile pause", 20, lambda log: gobuild.build_pause(paths, log), ("Go",)),
        Step(
            "compile the node binary",
            220,
            lambda log: gobuild.build_node(paths, log),
            ("fetch Go modules", "compile pause"),
            gobuild.build_progress,
        ),
        Step("fetch Codex", 30, lambda log: codex.fetch_codex(paths, log), ("packages",)),
        Step(
            "base root file system",
            90,
            lambda log: base_image.build_base(paths, log),
            ("packages",),
        ),
        Step("control image", 60, control, ("base root file system",)),
        Step("agent image", 60, agent, ("control image", "fetch Codex")),
        Step("containerd", 5, containerd, ("packages",)),
        Step("images on the node", 40, load, ("agent image", "containerd", "compile pause")),
        Step(
            "certificates and settings",
            2,
            lambda log: steps.write_settings(paths, log),
            ("compile the node binary", "containerd"),
        ),
        component("etcd", 3, "certificates and settings"),
        component("kube-apiserver", 10, "etcd"),
        *(
            component(name, 5, "kube-apiserver")
            for name in NODE_COMPONENTS
            if name not in ("etcd", "kube-apiserver", "coredns")
        ),
        Step("rights and volumes", 5, lambda log: objects.apply(paths, log), ("kube-apiserver",)),
        component("coredns", 5, "rights and volumes"),
        Step(
            "cluster",
            20,
            lambda log: steps.await_node(paths, log),
            ("rights and volumes", *NODE_COMPONENTS),
        ),
    ]
