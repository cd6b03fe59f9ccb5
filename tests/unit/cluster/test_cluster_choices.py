"""The launcher's decisions: which cluster, which sources, what is in the way, what a person
reads."""

import json
from pathlib import Path

import pytest

from codexrun_cluster import chart, loglines, paths
from codexrun_cluster.backends import choice
from codexrun_cluster.backends.choice import Machine
from codexrun_cluster.errors import LauncherError, tail
from codexrun_cluster.images import base_image, builders, contents, oci_layout
from codexrun_cluster.node import container_leftovers, gobuild, network, ports

SERVER = Machine(linux=True, root=True, docker=False, kind=False)
LAPTOP = Machine(linux=True, root=False, docker=True, kind=True)
MAC = Machine(linux=False, root=False, docker=True, kind=True)
BARE = Machine(linux=True, root=False, docker=False, kind=False)
MUTE = Machine(linux=True, root=True, docker=False, kind=False, clients=False)
IMAGES = {"IMAGE": "r/codexrun:1", "AGENT_IMAGE": "r/agent:1"}


@pytest.mark.parametrize(
    ("wanted", "machine", "environ", "taken"),
    [
        pytest.param("auto", SERVER, {}, "embedded", id="auto, root on Linux: embedded"),
        pytest.param("auto", LAPTOP, {}, "kind", id="auto, no root, but Docker: kind"),
        pytest.param("auto", MAC, {}, "kind", id="auto, no Linux, but Docker: kind"),
        pytest.param("embedded", SERVER, {}, "embedded", id="asked for embedded"),
        pytest.param("kind", LAPTOP, {}, "kind", id="asked for kind"),
        pytest.param(
            "current", BARE, IMAGES, "current", id="asked for the current one, images given"
        ),
    ],
)
def test_cluster_is_chosen(wanted, machine, environ, taken):
    took = choice.choose(wanted, machine, environ)
    assert took.kind == taken
    assert took.reason


@pytest.mark.parametrize(
    ("wanted", "machine", "says", "hint"),
    [
        pytest.param(
            "auto",
            BARE,
            "no root, no Docker that answers, no kind in PATH",
            "as root: make up",
            id="nothing",
        ),
        pytest.param("embedded", LAPTOP, "needs root", "sudo make up", id="embedded without root"),
        pytest.param(
            "embedded", MAC, "Linux only", "CLUSTER=kind", id="embedded on another system"
        ),
        pytest.param("kind", BARE, "Docker", "start Docker", id="kind without Docker"),
        pytest.param(
            "current", SERVER, "IMAGE, AGENT_IMAGE", "IMAGE=", id="current without images"
        ),
        pytest.param(
            "current", MUTE, "kubectl and helm", "install both", id="current without kubectl"
        ),
        pytest.param(
            "minikube",
            SERVER,
            "not a valid backend; use auto, embedded, kind, current",
            "CLUSTER=auto",
            id="a typing error",
        ),
    ],
)
def test_impossible_choice_names_the_way_out(wanted, machine, says, hint):
    with pytest.raises(LauncherError) as caught:
        choice.choose(wanted, machine, {})
    assert says in caught.value.message
    assert hint in caught.value.hint


TCP = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  \
timeout inode
   0: 0100F40A:192B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1
   1: 00000000:0035 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 222 1
   2: 0100007F:192B 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 333 1
"""


@pytest.mark.parametrize(
    ("address", "port", "taken"),
    [
        pytest.param("10.244.0.1", 6443, True, id="the same address"),
        pytest.param("127.0.0.1", 6443, False, id="another address; a connection is no listener"),
        pytest.param("10.244.0.1", 53, True, id="a listener on every address"),
        pytest.param("10.244.0.1", 10250, False, id="nobody"),
    ],
)
def test_port_in_the_way(address, port, taken):
    assert (ports.port_holder(address, port, ports.listeners([TCP])) is not None) == taken


@pytest.mark.local
def test_port_names_who_has_it():
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        holder = ports.port_holder("127.0.0.1", server.getsockname()[1], ports.listening_sockets())
    import os

    assert holder is not None
    assert f"pid {os.getpid()}" in holder


TARGETS = """http://mirror.example/debian/|bookworm|main|$(SIGNED_BY)
http://mirror.example/debian/|bookworm|contrib|$(SIGNED_BY)
http://mirror.example/security/|bookworm-security|main|/usr/share/keyrings/x.gpg
http://mirror.example/security/|bookworm-security|main|/usr/share/keyrings/x.gpg
http://other.example/|nodistro|main|$(SIGNED_BY)
"""


def test_base_is_made_from_this_release_and_its_updates_only():
    assert base_image.sources(TARGETS, "bookworm") == [
        "deb http://mirror.example/debian/ bookworm main",
        (
            "deb [signed-by=/usr/share/keyrings/x.gpg] http://mirror.example/security/"
            " bookworm-security main"
        ),
    ]


def test_release_is_read_or_its_lack_explained():
    assert base_image.codename("ID=debian\nVERSION_CODENAME=trixie\n") == "trixie"
    with pytest.raises(LauncherError, match="no Debian release"):
        base_image.codename("ID=alpine\n")


def test_only_our_mounts_are_undone_innermost_first():
    mountinfo = "\n".join(
        f"{n} 1 0:1 / {point} rw - tmpfs tmpfs rw"
        for n, point in enumerate(
            [
                "/",
                "/run/other",
                "/run/codexrun-node/a",
                "/run/codexrun-node/a/b",
                "/run/codexrun-nodes",
            ]
        )
    )
    found = container_leftovers.mounts_below((Path("/run/codexrun-node"),), mountinfo)
    assert found == ["/run/codexrun-node/a/b", "/run/codexrun-node/a"]


def test_somebody_elses_route_is_seen_and_ours_is_not():
    ours = (
        f"10.244.0.0/24 dev {network.BRIDGE} proto kernel scope link\ndefault via 192.0.2.1 dev"
        " eth0\n"
    )
    assert network.conflicting_route(ours) is None
    assert (
        network.conflicting_route(ours + "10.244.0.0/16 dev flannel.1\n")
        == "10.244.0.0/16 dev flannel.1"
    )


@pytest.mark.parametrize(
    ("line", "text"),
    [
        pytest.param(
            '{"src":"runner","text":"codex.starting"}',
            "runner: codex.starting",
            id="the runner's own",
        ),
        pytest.param(
            '{"src":"codex","event":{"type":"item.started","item":{"type":"command_execution","command":"ls"}}}',
            "codex: $ ls",
            id="a command begins",
        ),
        pytest.param(
            '{"src":"codex","event":{"type":"item.completed","item":{"type":"command_execution","exit_code":0,"aggregated_output":"a\\nb\\n"}}}',
            "codex: command ended with 0: a | b",
            id="a command ends",
        ),
        pytest.param(
            '{"src":"codex","event":{"type":"item.completed","item":{"type":"agent_message","text":"hi"}}}',
            "codex: says: hi",
            id="a message",
        ),
        pytest.param(
            '{"src":"codex","event":{"type":"turn.failed","error":{"message":"no"}}}',
            "codex: turn.failed: no",
            id="a failed turn",
        ),
        pytest.param(
            '{"src":"codex","event":{"type":"item.updated","item":{"type":"todo_list"}}}',
            None,
            id="says too little",
        ),
        pytest.param("Traceback: x", "Traceback: x", id="no JSON stays as it is"),
        pytest.param("[1]", "[1]", id="JSON of another kind stays as it is"),
        pytest.param("x" * 500, "x" * (loglines.MAX_WIDTH - 3) + "...", id="long lines are cut"),
    ],
)
def test_log_line_for_people(line, text):
    assert loglines.readable(line) == text


def test_image_names():
    assert chart.split_name("host:5000/team/codexrun:v1") == ("host:5000/team/codexrun", "v1")
    with pytest.raises(LauncherError, match="no tag"):
        chart.split_name("host:5000/team/codexrun")
    assert (
        builders.pushed_name("localhost/codexrun:t", "r.example/team/")
        == "r.example/team/codexrun:t"
    )


def test_archive_leaves_out_what_the_node_has(tmp_path):
    import tarfile

    folder = tmp_path / "oci"
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    manifest = {"config": _blob("c"), "layers": [_blob("known"), _blob("new")]}
    for name in ("c", "known", "new"):
        (blobs / name).write_text(name)
    (blobs / "m").write_text(json.dumps(manifest))
    (folder / "oci-layout").write_text("{}")
    annotations = {"org.opencontainers.image.ref.name": "localhost/x:1"}
    index = {
        "manifests": [
            {**_blob("m"), "annotations": annotations},
            {**_blob("old"), "annotations": {}},
        ]
    }
    (folder / "index.json").write_text(json.dumps(index))

    size = oci_layout.write_archive(folder, "localhost/x:1", {"sha256:known"}, tmp_path / "x.tar")

    with tarfile.open(tmp_path / "x.tar") as tar:
        names = set(tar.getnames())
        inside = json.load(tar.extractfile("index.json"))
    assert names == {
        "index.json",
        "oci-layout",
        "blobs/sha256/m",
        "blobs/sha256/c",
        "blobs/sha256/new",
    }
    assert [m["annotations"]["io.containerd.image.name"] for m in inside["manifests"]] == [
        "localhost/x:1"
    ]
    assert size == 3

    oci_layout.prune_layout(folder, {"localhost/x:1"})
    assert {file.name for file in blobs.iterdir()} == {"m", "c", "known", "new"}
    assert oci_layout.newest_images(folder, 3) == {"localhost/x:1"}


def test_images_of_a_moment_ago_stay(tmp_path):
    named = "org.opencontainers.image.ref.name"
    manifests = [{"annotations": {named: name}} for name in ("a:1", "b:1", "a:2", "a:3", "a:4")]
    (tmp_path / "index.json").write_text(json.dumps({"manifests": manifests}))
    assert oci_layout.newest_images(tmp_path, 2) == {"a:3", "a:4", "b:1"}
    assert oci_layout.newest_images(tmp_path / "none", 2) == set()


def _blob(name):
    return {"digest": f"sha256:{name}", "size": 1}


def test_digest_follows_content_and_ignores_compiled_python(tmp_path):
    folder = tmp_path / "p"
    (folder / "__pycache__").mkdir(parents=True)
    (folder / "a.py").write_text("1")
    first = paths.digest([folder])
    (folder / "__pycache__" / "a.pyc").write_text("compiled")
    assert paths.digest([folder]) == first
    (folder / "a.py").chmod(0o755)
    second = paths.digest([folder])
    assert second != first
    (folder / "a.py").write_text("2")
    assert paths.digest([folder]) != second


LIST = (
    "$ go list -deps .\ngo: downloading k8s.io/api v0.34.4\npackages to compile: 3\n$ go build"
    " -v .\n"
)


@pytest.mark.parametrize(
    ("log", "says"),
    [
        pytest.param("", "", id="not begun"),
        pytest.param(
            "$ go list -deps .\ngo: downloading k8s.io/api v0.34.4\n", "", id="it still downloads"
        ),
        pytest.param(LIST, "0 of 3 packages", id="begun"),
        pytest.param(f"{LIST}runtime\nk8s.io/api/core/v1\n", "2 of 3 packages", id="on its way"),
        pytest.param(
            f"{LIST}a\n# a\n./a.go:1: no such thing\n",
            "1 of 3 packages",
            id="a complaint is no package",
        ),
        pytest.param(
            f"{LIST}runtime\ncodexrun.dev/node\n", "linking", id="all compiled, one of them before"
        ),
    ],
)
def test_a_compiling_node_says_how_far_it_is(log, says):
    assert gobuild.build_progress(log) == says


@pytest.mark.parametrize(
    ("available", "processors", "bytes_each"),
    [
        pytest.param("MemAvailable:   25165824 kB\n", 2, 2 << 30, id="much: as much as helps"),
        pytest.param(
            "MemFree: 1 kB\nMemAvailable:    4194304 kB\n",
            2,
            1 << 30,
            id="4 GB for two: half of it in all",
        ),
        pytest.param(
            "MemAvailable:   25165824 kB\n", 16, (24 << 30) // 32, id="many processors share it"
        ),
        pytest.param(
            "MemAvailable:    8388608 kB\n", 64, 512 << 20, id="too many: the linker needs some"
        ),
        pytest.param("", 2, 2 << 30, id="not known"),
    ],
)
def test_compilers_leave_half_of_the_memory(available, processors, bytes_each):
    assert gobuild.compiler_memory(available, processors) == bytes_each


def test_another_way_to_compile_makes_another_binary(tmp_path, monkeypatch):
    """Or a cache would go on with the one that was made before."""
    here = paths.Paths(checkout=tmp_path, cache=tmp_path / "cache")
    (tmp_path / "cluster").mkdir()
    for name in ("go.mod", "go.sum"):
        (tmp_path / "cluster" / name).write_text(name)
    before = gobuild.node_binary(here)
    monkeypatch.setattr(gobuild, "GCFLAGS", ())
    assert gobuild.node_binary(here) != before


def test_tail_of_a_log_that_is_not_there_is_empty(tmp_path):
    assert tail(tmp_path / "none") == ""
    (tmp_path / "log").write_text("\n".join(map(str, range(30))))
    assert tail(tmp_path / "log", 2) == "    28\n    29"


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("golang:1.25", "golang-1.25-"),
        ("r.example:5000/team/build@sha256:abc", "build-"),
        ("node", "node-"),
    ],
)
def test_team_image_tells_its_base(image, label):
    assert contents.base_label(image) == label


def test_only_earlier_builds_of_ours_are_outdated():
    now, old, team = (
        f"{contents.AGENT_REPOSITORY}:{tag}"
        for tag in ("a" * 16, "b" * 16, "golang-1.25-" + "b" * 16)
    )
    foreign = "docker.io/library/x:" + "b" * 16
    assert contents.outdated([now, old, team, foreign], {now}) == [old]


def test_digest_names_go_with_the_last_real_name():
    listed = {
        "a:1": "sha256:x",
        "sha256:1": "sha256:x",
        "a:2": "sha256:y",
        "sha256:2": "sha256:y",
        "sha256:3": "sha256:z",
    }
    assert container_leftovers.untagged_images(listed, {"a:1"}) == ["sha256:1", "sha256:3"]
