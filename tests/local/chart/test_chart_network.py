"""Who reaches whom, by the chart's NetworkPolicies: every pair, in every mode. Nothing here is
enforced by a network; the policies are read as their specification says (networkpolicies.py)."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from networkpolicies import End, Outside, Pod, allowed
from test_chart import CHART, DEMO, Manifest, refusal, run
from test_chart_properties import Choices

RUN = Pod({"codexrun.dev/run": "hello", "codexrun.dev/job-type": "hello"}, "codexrun", "10.1.0.9")
OTHER_RUN = Pod({"codexrun.dev/run": "other"}, "codexrun", "10.1.0.10")


def part(name: str) -> Pod:
    labels = {
        "app.kubernetes.io/name": "codexrun",
        "app.kubernetes.io/instance": "codexrun",
        "app.kubernetes.io/component": name,
    }
    return Pod(labels, "codexrun", "10.1.0.20")


OPERATOR, API, DEMO_MODEL, CLEANUP = map(part, ("operator", "api", "demo-model", "cleanup"))
TEAM = Pod({"app": "shell"}, "codexrun", "10.1.0.30")
PROMETHEUS = Pod({"app": "prometheus"}, "monitoring", "10.1.4.1")
INGRESS = Pod({"app": "nginx"}, "ingress", "10.1.5.1")
MODEL = Pod({"app": "vllm"}, "models", "10.1.6.1")
DNS = Pod({"k8s-app": "kube-dns"}, "kube-system", "10.1.7.1")
RUN_ELSEWHERE = Pod({"codexrun.dev/run": "x"}, "team-b", "10.2.0.9")
PROVIDER = Outside("203.0.113.7")
GIT_HOST = Outside("192.168.7.7")
NODE = Outside("10.0.0.5")
METADATA = ("169.254.169.254", "169.254.170.2", "169.254.170.23", "100.100.100.200")
METADATA_IPV6 = ("fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254")
EGRESS: dict[str, Any] = {
    "egress": [
        {"to": [{"ipBlock": {"cidr": "203.0.113.0/24"}}], "ports": [{"port": 443}]},
        {"to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "models"}}}]},
    ]
}
DEFAULT: dict[str, Any] = {}
PUBLIC = {"privateRanges": False, **EGRESS}
CLOSED = {"closed": True, **EGRESS}


def policies(folder: Path, network: dict[str, Any]) -> list[Manifest]:
    values = folder / "network.json"
    given = {"demoModel": {"enabled": True}, "crds": {"install": False}, "networkPolicy": network}
    values.write_text(json.dumps(given))
    done = run("template", "codexrun", str(CHART), "-n", "codexrun", "-f", str(values))
    assert done.returncode == 0, done.stderr
    loaded = yaml.load_all(done.stdout, Loader=yaml.CSafeLoader)
    return [m for m in loaded if m and m["kind"] == "NetworkPolicy"]


# from, to, port: allowed by default, with privateRanges: false, when closed
PAIRS = [
    ("a run to the port for logs", RUN, API, 8081, (True, True, True)),
    ("a run to REST", RUN, API, 8080, (True, False, False)),
    ("a run to the operator's metrics", RUN, OPERATOR, 8080, (True, False, False)),
    ("a run to the demo model", RUN, DEMO_MODEL, 8080, (True, True, True)),
    ("a run to another run", RUN, OTHER_RUN, 8080, (False, False, False)),
    ("a run of another namespace to a run", RUN_ELSEWHERE, RUN, 8080, (False, False, False)),
    ("a run of another namespace to the port for logs", RUN_ELSEWHERE, API, 8081, (False,) * 3),
    ("a pod of the team to a run", TEAM, RUN, 8080, (False, False, False)),
    ("a run to the provider", RUN, PROVIDER, 443, (True, True, True)),
    ("a run to another port of the provider", RUN, PROVIDER, 22, (True, True, False)),
    ("a run to a host of the internet", RUN, Outside("198.51.100.1"), 443, (True, True, False)),
    ("a run to the internet by IPv6", RUN, Outside("2001:db8::1"), 443, (True, True, False)),
    ("a run to a model in the cluster that is named", RUN, MODEL, 8000, (True, True, True)),
    ("a run to a pod that is not named", RUN, PROMETHEUS, 9090, (True, False, False)),
    ("a run to a private address", RUN, GIT_HOST, 443, (True, False, False)),
    ("a run to a node", RUN, NODE, 10250, (True, False, False)),
    ("a run to DNS", RUN, DNS, 53, (True, True, True)),
    ("a run to DNS on its node", RUN, Outside("169.254.20.10"), 53, (True, True, True)),
    ("Prometheus to the operator", PROMETHEUS, OPERATOR, 8080, (True, True, True)),
    ("Prometheus to the api", PROMETHEUS, API, 8080, (True, True, True)),
    ("an Ingress' pod to the api", INGRESS, API, 8080, (True, True, True)),
    ("an Ingress' pod to the port for logs", INGRESS, API, 8081, (False, False, False)),
    ("the cleanup to the api", CLEANUP, API, 8080, (True, True, True)),
    ("a node's address to the api", NODE, API, 8080, (True, True, False)),
    ("a pod of the team to the demo model", TEAM, DEMO_MODEL, 8080, (False, False, False)),
    ("a pod of the team to the probes", TEAM, API, 8082, (False, False, False)),
    ("a run to the probes", RUN, API, 8082, (False, False, False)),
    ("the demo model to the internet", DEMO_MODEL, PROVIDER, 443, (False, False, False)),
    ("the api to Postgres", API, Outside("10.9.9.9"), 5432, (True, True, True)),
    ("the operator to the apiserver", OPERATOR, NODE, 6443, (True, True, True)),
]


@pytest.mark.parametrize("blocks", [True, False], ids=["as with Calico", "as with Cilium"])
@pytest.mark.parametrize(
    ("mode", "network"),
    list(enumerate((DEFAULT, PUBLIC, CLOSED))),
    ids=("default", "public", "closed"),
)
def test_every_pair(mode: int, network: dict[str, Any], blocks: bool, tmp_path: Path) -> None:
    """Whether or not the network takes an address block to mean pods."""

    def end(of: End) -> End:
        return replace(of, blocks=blocks) if isinstance(of, Pod) else of

    rendered = policies(tmp_path, network)
    found = {
        name: allowed(rendered, end(source), end(target), port)
        for name, source, target, port, _ in PAIRS
    }
    assert found == {name: wanted[mode] for name, *_, wanted in PAIRS}


def test_dns_is_asked_by_both_protocols(tmp_path: Path) -> None:
    for network in (DEFAULT, PUBLIC, CLOSED):
        rendered = policies(tmp_path, network)
        assert all(allowed(rendered, RUN, DNS, 53, protocol) for protocol in ("TCP", "UDP"))


def test_metadata_is_never_reached_whatever_is_named(tmp_path: Path) -> None:
    ends = [Outside(address) for address in (*METADATA, *METADATA_IPV6)]
    for seed in range(60):
        choices = Choices(seed)
        network = choices.values()["networkPolicy"] | {"enabled": True}
        if seed % 3 == 0:
            around = choices.one(*METADATA)
            network["egress"].append(
                {"to": [{"ipBlock": {"cidr": f"{around}/{choices.random.randrange(32)}"}}]}
            )
        rendered = policies(tmp_path, network)
        for end in ends:
            assert not allowed(rendered, RUN, end, 80), (seed, end, network)


@pytest.mark.parametrize("address", METADATA)
def test_metadata_that_is_named_alone_is_refused(address: str) -> None:
    words = refusal(*DEMO, f"networkPolicy.egress[0].to[0].ipBlock.cidr={address}/32")
    assert f"networkPolicy.egress: {address}/32 is the address from which pods" in words


def test_what_a_block_leaves_out_stays_out_and_the_rest_of_it_is_reached(tmp_path: Path) -> None:
    block = {"cidr": "169.254.0.0/16", "except": ["169.254.1.0/24"]}
    rendered = policies(tmp_path, {"closed": True, "egress": [{"to": [{"ipBlock": block}]}]})
    reached = {
        address: allowed(rendered, RUN, Outside(address), 443)
        for address in ("169.254.2.2", "169.254.1.1", "169.254.169.254")
    }
    assert reached == {"169.254.2.2": True, "169.254.1.1": False, "169.254.169.254": False}


def test_none_is_there_when_switched_off(tmp_path: Path) -> None:
    assert policies(tmp_path, {"enabled": False}) == []
