"""What the chart has installed: operator, api, the Secret with the model's key, the agents' image,
the metrics' monitor."""

import ssl
from collections.abc import Callable, Iterator
from functools import partial
from urllib.parse import urlsplit

from codexrun_cli.doctor.findings import CHART, Get, Json, attempt, failed, install, note, ok
from codexrun_cli.errors import CommandError
from codexrun_cli.exit_codes import Code
from codexrun_cli.output.table import counted
from codexrun_core.runs.label_keys import RUN_NAME_LABEL

Change = Callable[[str], str]  # the command that sets a value of the chart
BROKEN_PULLS = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")


def examine(get: Get, namespace: str, pods: str, job_types: list[Json]) -> Iterator[Json]:
    """Look at what the chart has installed. pods: the path of the namespace's."""
    deployments = attempt(lambda: get(f"/apis/apps/v1/namespaces/{namespace}/deployments")["items"])
    by_part: dict[str | None, Json] = {}
    if isinstance(deployments, CommandError):
        yield note("operator", f"not checked: {deployments.detail}")
    else:
        for deployment in deployments:
            labels = deployment["metadata"].get("labels", {})
            by_part[labels.get("app.kubernetes.io/component")] = deployment
        yield from _parts(get, namespace, by_part, job_types)
    yield from _pulls(get, pods)
    yield _metrics(get, namespace, partial(upgrade, by_part.get("operator"), namespace))


def _parts(
    get: Get, namespace: str, by_part: dict[str | None, Json], job_types: list[Json]
) -> Iterator[Json]:
    """Look at operator, the Secret with the model's key, and api, from their Deployments."""
    operator = by_part.get("operator")
    if operator is None:
        yield failed(
            "operator",
            f"there is no operator in namespace {namespace}",
            install(namespace),
        )
        return
    for part in ("operator", "api"):
        if (deployment := by_part.get(part)) is None:
            yield note(
                part,
                "not installed, so there is no registry, and the logs of finished pods are lost",
                upgrade(operator, namespace, "api.enabled=true"),
            )
        elif not deployment.get("status", {}).get("availableReplicas"):
            name = deployment["metadata"]["name"]
            yield failed(
                part,
                f"deployment/{name} is not available",
                f"kubectl logs deploy/{name} -n {namespace}",
            )
        else:
            yield ok(part, f"deployment/{deployment['metadata']['name']} is available")
    environment = {
        entry["name"]: entry.get("value", "")
        for entry in operator["spec"]["template"]["spec"]["containers"][0].get("env", [])
    }
    change = partial(upgrade, operator, namespace)
    default = environment.get("CODEXRUN_MODEL_SECRET", "")
    if not default and not environment.get("CODEXRUN_IDENTITY_TOKEN_URL"):
        yield from _missing_key(job_types, change)
    yield from _keys(get, namespace, default, job_types)
    yield from _endpoint(get, namespace, environment, change)
    yield ok(
        "image",
        f"agents use image {environment.get('CODEXRUN_AGENT_IMAGE', '?')}, unless their job type"
        " sets another image",
    )


def upgrade(operator: Json | None, namespace: str, setting: str) -> str:
    """Return the command that changes one value of the release that the operator is of; of the
    usual one where no operator is known."""
    metadata = operator["metadata"] if operator else {}
    release = (metadata.get("annotations") or {}).get("meta.helm.sh/release-name") or (
        metadata.get("labels") or {}
    ).get("app.kubernetes.io/instance", "codexrun")
    return f"helm upgrade {release} {CHART} -n {namespace} --reuse-values --set {setting}"


def _endpoint(
    get: Get, namespace: str, environment: dict[str, str], change: Change
) -> Iterator[Json]:
    """Look at what is on the way to the model: private CAs, and a proxy."""
    if name := environment.get("CODEXRUN_MODEL_CA_CONFIG_MAP"):
        key = environment.get("CODEXRUN_MODEL_CA_KEY") or "ca.crt"
        body = attempt(lambda: get(f"/api/v1/namespaces/{namespace}/configmaps/{name}"))
        yield _ca(body, name, key, namespace)
    if proxy := environment.get("CODEXRUN_MODEL_PROXY"):
        parts = urlsplit(proxy)
        if parts.scheme in ("http", "https") and parts.hostname:
            yield ok("proxy", f"gates reach the model through {parts.scheme}://{parts.netloc}")
        else:
            yield failed(
                "proxy",
                "model.proxy must be an http(s) URL, such as http://proxy.example.com:3128",
                change("model.proxy=http://proxy.example.com:3128"),
            )


def _ca(body: Json | CommandError, name: str, key: str, namespace: str) -> Json:
    """Judge the ConfigMap with CAs. Pure."""
    source = f"{name} -n {namespace} --from-file={key}=FILE"
    replace = f"kubectl create configmap {source} --dry-run=client -o yaml | kubectl replace -f -"
    if isinstance(body, CommandError):
        if body.code is Code.NOT_FOUND:
            fix = f"kubectl create configmap {source}"
            return failed("ca", f"ConfigMap {name} does not exist", fix)
        return note("ca", f"ConfigMap {name} cannot be read: {body.detail}")
    text = (body.get("data") or {}).get(key)
    if text is None:
        return failed("ca", f'ConfigMap {name} has no entry "{key}"', replace)
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=text)
        count = len(context.get_ca_certs())
    except (ssl.SSLError, ValueError):
        count = 0
    if not count:
        return failed(
            "ca",
            f'the entry "{key}" of ConfigMap {name} contains no CA certificate in PEM format',
            replace,
        )
    return ok("ca", f"ConfigMap {name} contains {counted(count, 'CA certificate')}")


def _missing_key(job_types: list[Json], change: Change) -> Iterator[Json]:
    """Tell of requests without a key, in an installation that has neither a Secret nor an
    identity."""
    if not job_types or not all(kind["spec"].get("modelSecretRef") for kind in job_types):
        yield note(
            "key",
            "model.existingSecret is not set, so requests to the model carry no API key, unless"
            " their job type has a modelSecretRef",
            change("model.existingSecret=NAME"),
        )


def _keys(get: Get, namespace: str, default: str, job_types: list[Json]) -> Iterator[Json]:
    """Look at the installation's Secret, and those of job types that have their own."""
    own = {kind["spec"].get("modelSecretRef", {}).get("name") for kind in job_types} - {
        None,
        default,
    }
    for secret in filter(None, (default, *sorted(own))):
        yield _key(get, namespace, secret)


def _key(get: Get, namespace: str, secret: str) -> Json:
    body = attempt(lambda: get(f"/api/v1/namespaces/{namespace}/secrets/{secret}"))
    fix = f"kubectl create secret generic {secret} -n {namespace} --from-file=api-key=FILE"
    if isinstance(body, CommandError):
        if body.code is Code.NOT_FOUND:
            return failed("key", f"Secret {secret} does not exist", fix)
        return note("key", f"cannot tell whether Secret {secret} exists: {body.detail}")
    if "api-key" not in (body.get("data") or {}):
        return failed("key", f'Secret {secret} has no entry "api-key"', fix)
    return ok("key", f'Secret {secret} has an entry "api-key"')


def _pulls(get: Get, pods: str) -> Iterator[Json]:
    listing = attempt(lambda: get(f"{pods}?labelSelector={RUN_NAME_LABEL}")["items"])
    if isinstance(listing, CommandError):
        yield note("pulls", f"not checked: {listing.detail}")
        return
    for pod in listing:
        status = pod.get("status", {})
        for container in [
            *status.get("initContainerStatuses", []),
            *status.get("containerStatuses", []),
        ]:
            waiting = (container.get("state") or {}).get("waiting") or {}
            if waiting.get("reason") in BROKEN_PULLS:
                yield failed(
                    "pulls",
                    f"pod {pod['metadata']['name']}: {waiting['reason']}:"
                    f" {waiting.get('message') or 'no further details'}",
                    "check that the nodes can reach the image registry; correct the image in the"
                    " chart or in the job type's spec.image, or add imagePullSecrets",
                )
                return
    yield ok("pulls", "no run is waiting for an image that cannot be pulled")


def _metrics(get: Get, namespace: str, change: Change) -> Json:
    fix = change("metrics.serviceMonitor.enabled=true")
    group = attempt(lambda: get("/apis/monitoring.coreos.com/v1"))
    if isinstance(group, CommandError) and group.code is not Code.NOT_FOUND:
        return note("metrics", f"not checked: {group.detail}")
    if isinstance(group, CommandError):
        return note(
            "metrics",
            "there is no Prometheus Operator in this cluster; scrape the ports named metrics, or"
            " install the Prometheus Operator and then run the command below",
            fix,
        )
    path = f"/apis/monitoring.coreos.com/v1/namespaces/{namespace}/servicemonitors"
    monitors = attempt(
        lambda: get(f"{path}?labelSelector=app.kubernetes.io/name=codexrun")["items"]
    )
    if isinstance(monitors, CommandError):
        return note("metrics", f"not checked: {monitors.detail}")
    if not monitors:
        return failed(
            "metrics",
            "the cluster has a Prometheus Operator, but no ServiceMonitor for codexrun",
            fix,
        )
    return ok("metrics", f"ServiceMonitor {monitors[0]['metadata']['name']} exists")
