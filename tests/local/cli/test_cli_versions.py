"""An earlier command line before this checkout's api, and this one's before an earlier api: people
upgrade one of them first. An earlier api also works on the registry that this one has migrated.

Both are processes of their own; the earlier one runs from the files of its commit.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from earlier_tree import EARLIER, ROLLED_BACK_TO, ROOT, tree_of
from version_stand import ENDS, MESSAGE, OUTPUT, Api, Cluster, imported_from, serving

from codexrun_cli.exit_codes import Code


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path)
    yield cluster
    cluster.close()


def trees(name: str) -> tuple[Path, Path]:
    """Return the trees of command line and api."""
    which, _, commit = name.partition(" ")
    earlier = tree_of({"EARLIER": EARLIER, "ROLLED_BACK_TO": ROLLED_BACK_TO}[commit])
    return (earlier, ROOT) if which == "cli" else (ROOT, earlier)


@pytest.mark.parametrize(
    "earlier", ["cli EARLIER", "cli ROLLED_BACK_TO", "api EARLIER", "api ROLLED_BACK_TO"]
)
def test_a_command_line_and_an_api_of_different_versions(cluster: Cluster, earlier: str) -> None:
    """Each command does what it does at one version: what it prints for programs, its exit code,
    and what then is in the cluster."""
    cli, api_tree = trees(earlier)
    assert [imported_from(tree, cluster) for tree in (cli, api_tree)] == [cli, api_tree]
    with serving(api_tree, cluster) as api:
        start = api.cli(cli, "start", "hello", "-p", "name=runs", "--label", "team=a")
        assert start.code == 0, start.err
        name = start.out.strip()
        listed = api.cli(cli, "list", "-l", "team=a", "-o", "json").json["runs"]
        assert [(run["name"], run["job_type"]) for run in listed] == [(name, "hello")]
        assert api.cli(cli, "list").out.split()[:2] == ["NAME", "STATUS"]

        run = api.cli(cli, "status", name, "-o", "json").json
        assert (run["status"], run["params"], run["labels"]["team"]) == (
            "running",
            {"name": "runs"},
            "a",
        )
        assert "Status:" in api.cli(cli, "status", name).out
        assert api.cli(cli, "status", "nobody").code == Code.NOT_FOUND

        assert "last line" in api.cli(cli, "logs", name).out

        cancel = api.cli(cli, "cancel", name, "--yes")
        assert cancel.code == 0, cancel.err
        assert api.cli(cli, "wait", name).code == Code.CANCELLED

        retry = api.cli(cli, "retry", name, "-p", f"name={ENDS}")
        assert retry.code == 0, retry.err
        again = retry.out.strip().splitlines()[-1]
        spec = cluster.kube.objects["codexruns"][again]["spec"]
        assert (spec["inputs"], spec["retryOf"]["name"]) == ({"name": ENDS}, name)
        assert api.cli(cli, "wait", again).code == 0

        follow = api.cli(cli, "start", "hello", "-p", f"name={ENDS}", "--follow")
        assert follow.code == 0, follow.err
        assert "last line" in follow.err + follow.out
        assert "findings" in follow.out
        ended = api.cli(cli, "list", "--status", "succeeded", "-o", "json").json["runs"]
        assert [run["usage"]["total_tokens"] for run in ended] == [120, 120]


def test_the_version_before_works_on_the_registry_of_this_one_and_loses_nothing(
    cluster: Cluster,
) -> None:
    """As `helm rollback` and the next upgrade have it; what the version before does not know of a
    run that ends under it is absent, not wrong."""
    before = tree_of(ROLLED_BACK_TO)
    with serving(ROOT, cluster) as api:
        first = _ended(api)
    with serving(before, cluster) as api:
        second = _ended(api)
        runs = api.cli(ROOT, "list", "-o", "json").json["runs"]
        assert {run["name"] for run in runs} == {first, second}
        assert {run["result"] for run in runs} == {MESSAGE}
    for name in (first, second):  # what an object still says would be filled in
        cluster.kube.remove("codexruns", name)
    with serving(ROOT, cluster) as api:
        runs = {run["name"]: run for run in api.cli(ROOT, "list", "-o", "json").json["runs"]}
        assert runs[first]["output"] == OUTPUT
        assert "output" not in runs[second]
        assert runs[first]["result"] == runs[second]["result"]


def _ended(api: Api) -> str:
    done = api.cli(ROOT, "start", "hello", "-p", f"name={ENDS}", "--wait", "-o", "json")
    assert done.code == 0, done.err
    return str(done.json["name"])
