"""What runs need of the namespace around the installation: Git credentials, and room in quotas."""

from collections.abc import Iterator
from functools import partial
from urllib.parse import urlsplit

from codexrun_cli.doctor.findings import Get, Json, attempt, failed, note, ok
from codexrun_cli.errors import CommandError
from codexrun_cli.exit_codes import Code

CREDENTIALS = ("username", "password")


def examine(get: Get, namespace: str, job_types: list[Json]) -> Iterator[Json]:
    """Look at Git hosts and quotas."""
    for secret in dict.fromkeys(
        kind["spec"]["git"]["credentialsSecretRef"]["name"]
        for kind in job_types
        if kind["spec"].get("git", {}).get("credentialsSecretRef")
    ):
        path = f"/api/v1/namespaces/{namespace}/secrets/{secret}"
        yield git_credentials(attempt(partial(get, path)), secret, namespace)
    if hosts := git_hosts(job_types):
        yield ok(
            "git",
            f"runs may clone from {', '.join(hosts)}; this check cannot tell whether pods can"
            " connect to " + ("this host" if len(hosts) == 1 else "these hosts"),
        )
    quotas = attempt(lambda: get(f"/api/v1/namespaces/{namespace}/resourcequotas")["items"])
    ranges = attempt(lambda: get(f"/api/v1/namespaces/{namespace}/limitranges")["items"])
    if isinstance(quotas, CommandError):
        yield note("quota", f"not checked: {quotas.detail}")
        return
    defaults = [] if isinstance(ranges, CommandError) else ranges
    yield from quota_room(quotas, defaults, job_types, namespace)


def git_hosts(job_types: list[Json]) -> list[str]:
    """Return the hosts that job types may clone from."""
    urls = [url for kind in job_types for url in kind["spec"].get("git", {}).get("allowedURLs", [])]
    return sorted({urlsplit(url).netloc for url in urls})


def git_credentials(body: Json | CommandError, secret: str, namespace: str) -> Json:
    """Judge a Secret with Git credentials. Pure."""
    fix = (
        f"kubectl create secret generic {secret} -n {namespace} --type=kubernetes.io/basic-auth"
        " --from-literal=username=USER --from-file=password=FILE"
    )
    if isinstance(body, CommandError):
        if body.code is Code.NOT_FOUND:
            return failed("git", f"Secret {secret} does not exist", fix)
        return note("git", f"cannot tell whether Secret {secret} exists: {body.detail}")
    missing = [key for key in CREDENTIALS if key not in (body.get("data") or {})]
    if missing:
        fix = f"kubectl delete secret {secret} -n {namespace} && {fix}"
        entries = " and no ".join(f'entry "{key}"' for key in missing)
        return failed("git", f"Secret {secret} has no {entries}", fix)
    return ok("git", f'Secret {secret} has the entries "username" and "password"')


def quota_room(
    quotas: list[Json], ranges: list[Json], job_types: list[Json], namespace: str
) -> Iterator[Json]:
    """Judge whether quotas let one more run's pod in. Pure.

    ranges: LimitRanges, whose defaults fill in what a container does not say.
    """
    findings = []
    for quota in quotas:
        name = quota["metadata"]["name"]
        status = quota.get("status") or {}
        used = status.get("used") or {}
        hard = status.get("hard") or {}
        spent = [key for key, limit in hard.items() if limit == used.get(key) and limit != "0"]
        if spent:
            findings.append(
                failed(
                    "quota",
                    f"ResourceQuota {name} is used up ({', '.join(sorted(spent))}); runs must wait",
                    f"kubectl describe resourcequota {name} -n {namespace}",
                )
            )
        if "limits.cpu" in hard and not _has_default_cpu(ranges):
            without = [
                kind["metadata"]["name"]
                for kind in job_types
                if not kind["spec"].get("resources", {}).get("limits", {}).get("cpu")
            ]
            if without:
                names = ", ".join(without)
                findings.append(
                    failed(
                        "quota",
                        f"ResourceQuota {name} requires limits.cpu for every container, but these"
                        f" job types do not set it: {names}; jobs.gate.resources and"
                        " jobs.clone.resources in the chart must set it too",
                        f"kubectl patch codexjobtype {without[0]} -n {namespace} --type=merge"
                        """ -p '{"spec":{"resources":{"limits":{"cpu":"2"}}}}'""",
                    )
                )
    if findings:
        yield from findings
    elif quotas:
        names = ", ".join(quota["metadata"]["name"] for quota in quotas)
        yield ok("quota", f"there is room in each ResourceQuota: {names}")
    else:
        yield ok("quota", "the namespace has no ResourceQuota")


def _has_default_cpu(ranges: list[Json]) -> bool:
    return any(
        limit.get("type") == "Container" and "cpu" in (limit.get("default") or {})
        for each in ranges
        for limit in each.get("spec", {}).get("limits", [])
    )
