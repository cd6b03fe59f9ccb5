"""The cluster itself: its version, our resources, and what the user may do there."""

import shlex
from collections.abc import Iterator
from typing import Any

from codexrun_cli.doctor.findings import Get, Json, attempt, failed, install, note, ok
from codexrun_cli.errors import CommandError

OLDEST = 31  # minor version of Kubernetes
RIGHTS = [
    *(
        ("codexrun.dev", "codexruns", verb)
        for verb in ("get", "list", "watch", "create", "patch", "delete")
    ),
    ("codexrun.dev", "codexjobtypes", "list"),
    ("", "configmaps", "list"),
    ("", "pods", "list"),
    ("", "pods/log", "get"),
]


def examine(transport: Any, server: Json, get: Get) -> Iterator[Json]:
    """Look at the cluster. The last finding is a failed crd where nothing else is worth a look.
    server: what the apiserver says of its version."""
    minor = "".join(filter(str.isdecimal, str(server.get("minor", "0"))))
    name = f"Kubernetes {server.get('gitVersion', '?')}"
    if int(minor or 0) < OLDEST:
        yield failed(
            "cluster",
            f"{name} is too old",
            f"upgrade the cluster to Kubernetes 1.{OLDEST} or newer",
        )
    else:
        yield ok("cluster", f"{name}, namespace {transport.kube.namespace}")
    if (crd := _crd(get)) is None:
        yield failed(
            "crd", "the cluster has no codexruns resource", install(transport.kube.namespace)
        )
        return
    yield crd
    yield from _rights(transport)


def _crd(get: Get) -> Json | None:
    group = attempt(lambda: get("/apis/codexrun.dev"))
    if isinstance(group, CommandError):
        return None
    versions = [version["version"] for version in group["versions"]]
    if "v1alpha1" not in versions:
        return failed(
            "crd",
            f"the cluster has codexrun.dev {', '.join(versions)}, but this client supports only"
            " v1alpha1",
            "update the client or the chart",
        )
    return ok("crd", f"codexrun.dev {', '.join(versions)}")


def _rights(transport: Any) -> Iterator[Json]:
    missing = []
    resources: dict[str, None] = {}
    for group, resource, verb in RIGHTS:
        plain, _, sub = resource.partition("/")
        attributes = {
            "namespace": transport.kube.namespace,
            "group": group,
            "resource": plain,
            "verb": verb,
        }
        attributes |= {"subresource": sub} if sub else {}
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        try:
            answer = transport.loop.call(
                transport.kube.create(
                    "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body
                )
            )
        except CommandError as error:
            yield note("rights", f"cannot be checked: {error.detail}")
            return
        if not answer.get("status", {}).get("allowed"):
            missing.append(f"{verb} {resource}")
            resources[f"{plain}.{group}" if group else resource] = None
    if missing:
        verbs = ",".join(dict.fromkeys(right.split()[0] for right in missing))
        namespace = transport.kube.namespace
        yield failed(
            "rights",
            f"you are not allowed to {', '.join(missing)}",
            f"kubectl create role codexrun-user -n {namespace} --verb={verbs}"
            f" --resource={','.join(resources)} && kubectl create rolebinding codexrun-user"
            f" -n {namespace} --role=codexrun-user"
            f" --user={_user(transport)}",
        )
    else:
        yield ok("rights", f"you have all {len(RIGHTS)} permissions that commands need")


def _user(transport: Any) -> str:
    """Return who the apiserver takes the caller for, quoted for a shell: somebody else runs the
    fix."""
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    answer = attempt(lambda: transport.loop.call(transport.kube.create(path, body)))
    if isinstance(answer, CommandError):
        return "USER"
    return shlex.quote(str(answer["status"]["userInfo"]["username"]))
