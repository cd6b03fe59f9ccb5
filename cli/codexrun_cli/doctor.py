"""What runs need, looked at one by one: each finding is ok, failed (with its fix), or a note where it cannot be known."""

from collections.abc import Callable, Iterator
from typing import Any

from codexrun_cli.exit_codes import Code
from codexrun_cli.failing import Away, Trouble
from codexrun_cli.settings import Flags, Settings
from codexrun_cli.transports.opening import open_transport, settings_of

Json = dict[str, Any]

RIGHTS = [
    *(("codexrun.dev", "codexruns", verb) for verb in ("get", "list", "watch", "create", "patch", "delete")),
    ("codexrun.dev", "codexjobtypes", "list"),
    ("", "configmaps", "list"),
    ("", "pods", "list"),
    ("", "pods/log", "get"),
]
INSTALL = "helm upgrade --install codexrun charts/codexrun -n NAMESPACE"
BROKEN_PULLS = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")


def ok(name: str, detail: str) -> Json:
    return {"name": name, "result": "ok", "detail": detail}


def failed(name: str, detail: str, fix: str) -> Json:
    return {"name": name, "result": "failed", "detail": detail, "fix": fix}


def note(name: str, detail: str, fix: str = "") -> Json:
    return {"name": name, "result": "note", "detail": detail, **({"fix": fix} if fix else {})}


def examine(flags: Flags) -> Iterator[Json]:
    """Everything, in the order in which one thing needs the other."""
    settings = settings_of(flags)
    yield from _api(settings)
    yield from _cluster(settings_of(flags, straight=True), through_api=settings.rest)


def _api(settings: Settings) -> Iterator[Json]:
    if settings.server is None:
        yield note("api", "no URL is set; commands go straight to the cluster", "codexrun login URL, or CODEX_CONTROL_URL")
        return
    from codexrun_cli.transports.http import Http

    http = Http(settings.server, settings.token, debug=settings.flags.debug, seconds=10)
    try:
        health = http.json("GET", "/readyz", repeatable=False)
    except Trouble as trouble:
        yield failed(
            "api", trouble.detail, "kubectl get pods -l app.kubernetes.io/component=api; kubectl logs deploy/codexrun-api"
        )
        return
    yield ok("api", f"{settings.server} is ready")
    try:
        about = http.json("GET", "/version", repeatable=False)
    except Trouble as trouble:
        if trouble.code is Code.NOT_ALLOWED:
            yield failed("token", trouble.detail, "codexrun login URL, or CODEX_CONTROL_TOKEN")
        else:
            yield note("version", trouble.detail)
        return
    yield ok("token", "the api knows it")
    lag = health.get("registry_lag_seconds", 0)
    if lag > 30:
        yield failed(
            "registry", f"writes are {lag:.0f} s late", "is the database up? kubectl logs deploy/codexrun-api | grep row.late"
        )
    else:
        yield ok("registry", f"schema {about.get('registry_schema')}, writes {lag:.0f} s late")


def _cluster(settings: Settings, *, through_api: bool) -> Iterator[Json]:
    try:
        transport: Any = open_transport(settings, ask=False)
        server = transport.loop.call(transport.kube.get("/version"))
    except Trouble as trouble:
        if through_api:
            yield note("cluster", f"not looked at: {trouble.detail}")
        else:
            yield failed("cluster", trouble.detail, trouble.hint or "kubectl cluster-info")
        return
    try:
        yield from examine_cluster(transport, server)
    finally:
        transport.close()


def examine_cluster(transport: Any, server: Json) -> Iterator[Json]:
    """server: what the apiserver says of its version."""
    kube = transport.kube

    def get(path: str) -> Json:
        found: Json = transport.loop.call(kube.get(path))
        return found

    minor = "".join(filter(str.isdecimal, str(server.get("minor", "0"))))
    name = f"Kubernetes {server.get('gitVersion', '?')}, namespace {kube.namespace}"
    if int(minor or 0) < 31:
        yield failed("cluster", f"{name} is too old", "1.31 or newer is needed; upgrade the cluster")
    else:
        yield ok("cluster", name)
    if (crd := _crd(get)) is None:
        yield failed("crd", "the cluster does not know codexruns", INSTALL)
        return
    yield crd
    yield from _rights(transport)
    deployments = _looked(lambda: get(f"/apis/apps/v1/namespaces/{kube.namespace}/deployments")["items"])
    if isinstance(deployments, Trouble):
        yield note("operator", f"not looked at: {deployments.detail}")
    else:
        yield from _parts(get, kube.namespace, deployments)
    yield from _images(get, kube.pods)
    yield _sandbox(get, kube.namespace)
    yield _metrics(get, kube.namespace)


def _looked(look: Callable[[], Any]) -> Any:
    try:
        return look()
    except Away:
        raise
    except Trouble as trouble:
        return trouble


def _crd(get: Callable[[str], Json]) -> Json | None:
    found = _looked(lambda: get("/apis/codexrun.dev"))
    if isinstance(found, Trouble):
        return None
    versions = [version["version"] for version in found["versions"]]
    if "v1alpha1" not in versions:
        return failed("crd", f"it has {', '.join(versions)}, this client speaks v1alpha1", "update this client, or the chart")
    return ok("crd", f"codexrun.dev {', '.join(versions)}")


def _rights(transport: Any) -> Iterator[Json]:
    missing = []
    for group, resource, verb in RIGHTS:
        plain, _, sub = resource.partition("/")
        attributes = {"namespace": transport.kube.namespace, "group": group, "resource": plain, "verb": verb}
        attributes |= {"subresource": sub} if sub else {}
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        try:
            answer = transport.loop.call(transport.kube.create("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body))
        except Trouble as trouble:
            yield note("rights", f"cannot be asked: {trouble.detail}")
            return
        if not answer.get("status", {}).get("allowed"):
            missing.append(f"{verb} {resource}")
    if missing:
        verbs = ",".join(dict.fromkeys(right.split()[0] for right in missing))
        yield failed(
            "rights",
            f"you may not {', '.join(missing)}",
            f"kubectl create role codexrun-user -n {transport.kube.namespace} --verb={verbs} "
            "--resource=codexruns.codexrun.dev, and bind it to you; or use the api",
        )
    else:
        yield ok("rights", f"all {len(RIGHTS)} that commands need")


def _parts(get: Callable[[str], Json], namespace: str, deployments: list[Json]) -> Iterator[Json]:
    """Operator, the Secret with the model's key, and api, from their Deployments."""
    by_part = {d["metadata"].get("labels", {}).get("app.kubernetes.io/component"): d for d in deployments}
    operator = by_part.get("operator")
    if operator is None:
        yield failed("operator", f"there is none in namespace {namespace}", INSTALL.replace("NAMESPACE", namespace))
        return
    for part in ("operator", "api"):
        if (deployment := by_part.get(part)) is None:
            yield note(part, "not installed: no registry, no logs of finished pods", "helm upgrade --set api.enabled=true")
        elif not deployment.get("status", {}).get("availableReplicas"):
            name = deployment["metadata"]["name"]
            yield failed(part, f"deployment/{name} is not available", f"kubectl logs deploy/{name} -n {namespace}")
        else:
            yield ok(part, f"deployment/{deployment['metadata']['name']} is available")
    environment = {
        entry["name"]: entry.get("value", "") for entry in operator["spec"]["template"]["spec"]["containers"][0].get("env", [])
    }
    yield _key(get, namespace, environment.get("CODEXRUN_MODEL_SECRET", ""))
    yield ok("image", f"agents run {environment.get('CODEXRUN_AGENT_IMAGE', '?')}, unless their job type says otherwise")


def _key(get: Callable[[str], Json], namespace: str, secret: str) -> Json:
    if not secret:
        return note(
            "key", "no Secret is set: requests to the model carry no key", "helm upgrade --set model.existingSecret=NAME"
        )
    found = _looked(lambda: get(f"/api/v1/namespaces/{namespace}/secrets/{secret}"))
    fix = f"kubectl create secret generic {secret} -n {namespace} --from-file=api-key=FILE"
    if isinstance(found, Trouble):
        if found.code is Code.NOT_FOUND:
            return failed("key", f"Secret {secret} is not there", fix)
        return note("key", f"whether Secret {secret} is there cannot be seen: {found.detail}")
    if "api-key" not in (found.get("data") or {}):
        return failed("key", f"Secret {secret} has no api-key", fix)
    return ok("key", f"Secret {secret} has an api-key")


def _images(get: Callable[[str], Json], pods: str) -> Iterator[Json]:
    found = _looked(lambda: get(f"{pods}?labelSelector=codexrun.dev/run")["items"])
    if isinstance(found, Trouble):
        yield note("pulls", f"not looked at: {found.detail}")
        return
    for pod in found:
        status = pod.get("status", {})
        for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
            waiting = (container.get("state") or {}).get("waiting") or {}
            if waiting.get("reason") in BROKEN_PULLS:
                yield failed(
                    "pulls",
                    f"pod {pod['metadata']['name']}: {waiting['reason']}: {waiting.get('message', '')}",
                    "can the nodes reach the registry? correct agentImage or spec.image, or add imagePullSecrets",
                )
                return
    yield ok("pulls", f"no pod of {len(found)} waits for an image")


def _sandbox(get: Callable[[str], Json], namespace: str) -> Json:
    """The pod is the sandbox: what a namespace enforces is what can be known from outside."""
    found = _looked(lambda: get(f"/api/v1/namespaces/{namespace}"))
    if isinstance(found, Trouble):
        return note("sandbox", f"what the namespace enforces cannot be seen: {found.detail}")
    enforced = (found["metadata"].get("labels") or {}).get("pod-security.kubernetes.io/enforce", "nothing")
    if enforced != "restricted":
        return note(
            "sandbox",
            f"the pod is the sandbox; pods of runs are restricted, the namespace enforces {enforced} for others",
            f"kubectl label namespace {namespace} pod-security.kubernetes.io/enforce=restricted",
        )
    return ok("sandbox", "the pod is the sandbox; the namespace enforces restricted. Codex's own is looked at in each pod")


def _metrics(get: Callable[[str], Json], namespace: str) -> Json:
    fix = "helm upgrade --set metrics.serviceMonitor.enabled=true"
    group = _looked(lambda: get("/apis/monitoring.coreos.com/v1"))
    if isinstance(group, Trouble):
        return note(
            "metrics", "no Prometheus Operator in this cluster; scrape the ports called metrics, or install it and then", fix
        )
    path = f"/apis/monitoring.coreos.com/v1/namespaces/{namespace}/servicemonitors"
    found = _looked(lambda: get(f"{path}?labelSelector=app.kubernetes.io/name=codexrun")["items"])
    if isinstance(found, Trouble):
        return note("metrics", f"not looked at: {found.detail}")
    if not found:
        return failed("metrics", "there is a Prometheus Operator, but no ServiceMonitor of codexrun", fix)
    return ok("metrics", f"ServiceMonitor {found[0]['metadata']['name']}")
