"""The Secret with the api's token: made once, and never read or changed."""

import re

import pytest
from fake_kube import FakeKube

from codexrun_api.http.token_job import make_secret
from codexrun_core.errors import Conflict, Refused, Unavailable

METADATA = {
    "name": "codexrun-api-token",
    "labels": {"app.kubernetes.io/component": "api"},
    "annotations": {"helm.sh/resource-policy": "keep"},
}
SECRETS = "/api/v1/namespaces/codexrun/secrets"


async def test_a_token_is_made_with_the_marks_that_the_chart_gives() -> None:
    kube = FakeKube()
    assert await make_secret(kube, METADATA)
    ((verb, path, made),) = kube.calls
    assert (verb, path) == ("create", SECRETS)
    assert made["metadata"].items() >= METADATA.items()
    assert made["stringData"].keys() == {"token"}
    assert re.fullmatch(r"[A-Za-z0-9]{40}", made["stringData"]["token"])


async def test_two_installations_have_two_tokens() -> None:
    tokens = set()
    for _ in range(3):
        kube = FakeKube()
        await make_secret(kube, METADATA)
        tokens.add(kube.calls[0][2]["stringData"]["token"])
    assert len(tokens) == 3


async def test_a_secret_that_is_there_stays_as_it_is() -> None:
    kube = FakeKube()
    await make_secret(kube, METADATA)
    before = dict(kube.objects)
    assert not await make_secret(kube, METADATA)
    assert kube.objects == before


@pytest.mark.parametrize(
    "error",
    [
        Refused(403, "Forbidden", "secrets is forbidden"),
        Conflict(409, "Conflict", "the quota was changed meanwhile"),
        Unavailable("no answer"),
    ],
    ids=["no right to", "a conflict over something else", "apiserver away"],
)
async def test_what_is_not_known_to_be_there_is_a_failure_and_the_job_tries_again(
    error: Exception,
) -> None:
    kube = FakeKube()
    kube.fail("create", "secrets", error)
    with pytest.raises(type(error)):
        await make_secret(kube, METADATA)
