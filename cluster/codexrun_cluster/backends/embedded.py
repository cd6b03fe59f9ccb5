"""What has to be done for the embedded node?"""

from codexrun_cluster import packages
from codexrun_cluster.command import Log
from codexrun_cluster.images import base_image, fetch
from codexrun_cluster.images.builders import PAUSE_REPOSITORY, Buildah, prune
from codexrun_cluster.images.contents import agent_image, control_image
from codexrun_cluster.node import gobuild, objects, steps
from codexrun_cluster.paths import Places
from codexrun_cluster.step_runner import Step

NODE_PARTS = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "coredns",
)


def embedded_steps(places: Places, images: dict[str, str]) -> list[Step]:
    """The embedded node. The compiler has the cores for minutes; everything that downloads runs
    beside it."""
    pause = f"{PAUSE_REPOSITORY}:{gobuild.pause_binary(places).parent.name}"

    def control(log: Log) -> str:
        buildah = Buildah(places, log)
        python = base_image.python_version(base_image.base_tar(places))
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
        note = steps.prepare(places, log)
        steps.write_containerd_settings(places, pause)
        return f"{note}; {steps.start(places, 'containerd', log)}"

    def part(name: str, seconds: int, after: str) -> Step:
        return Step(name, seconds, lambda log: steps.start(places, name, log), (after,))

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
            lambda log: gobuild.find_go(places, log),
            () if gobuild.own_go() else ("packages for Python",),
        ),
        Step("fetch Go modules", 30, lambda log: gobuild.fetch_modules(places, log), ("Go",)),
        Step("compile pause", 20, lambda log: gobuild.build_pause(places, log), ("Go",)),
        Step(
            "compile the node binary",
            220,
            lambda log: gobuild.build_node(places, log),
            ("fetch Go modules", "compile pause"),
            gobuild.compiled,
        ),
        Step("fetch Codex", 30, lambda log: fetch.fetch_codex(places, log), ("packages",)),
        Step(
            "base root file system",
            90,
            lambda log: base_image.build_base(places, log),
            ("packages",),
        ),
        Step("control image", 60, control, ("base root file system",)),
        Step("agent image", 60, agent, ("control image", "fetch Codex")),
        Step("containerd", 5, containerd, ("packages",)),
        Step("images on the node", 40, load, ("agent image", "containerd", "compile pause")),
        Step(
            "certificates and settings",
            2,
            lambda log: steps.write_settings(places, log),
            ("compile the node binary", "containerd"),
        ),
        part("etcd", 3, "certificates and settings"),
        part("kube-apiserver", 10, "etcd"),
        *(
            part(name, 5, "kube-apiserver")
            for name in NODE_PARTS
            if name not in ("etcd", "kube-apiserver", "coredns")
        ),
        Step("rights and volumes", 5, lambda log: objects.apply(places, log), ("kube-apiserver",)),
        part("coredns", 5, "rights and volumes"),
        Step(
            "cluster",
            20,
            lambda log: steps.await_node(places, log),
            ("rights and volumes", *NODE_PARTS),
        ),
    ]
