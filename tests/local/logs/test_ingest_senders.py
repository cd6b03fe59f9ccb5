"""Who may ship: the gate of the very run, by its pod's token and the controllers above the pod;
nobody else."""

import asyncio
import base64
import copy
import json
import time

import manifests
import pytest

from codexrun_api.logs import gate_identity
from codexrun_api.logs.gate_identity import GateAuthentication, GateIdentity
from codexrun_api.logs.token_claims import CLOCK_LEEWAY_SECONDS, NotAGate, check_claims
from codexrun_core.errors import NotFound, Unavailable

UID = "11111111-2222-3333-4444-555555555555"
OTHER = "99999999-2222-3333-4444-555555555555"
PEER = "10.0.0.7"
POD = {"namespace": "codexrun", "pod": {"name": "p", "uid": "pod-1"}}


def jwt(text="{}", /, **claims):
    """A token with these claims beside a gate's, or of this text; nobody has signed it."""
    if claims or text == "{}":
        given = {"aud": ["codexrun-api"], "exp": 4e9, "kubernetes.io": POD} | claims
        text = json.dumps({key: value for key, value in given.items() if value is not None})
    part = base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()
    return f"e30.{part}.c2ln"


TOKEN = jwt()


def owner(kind, version, name, uid, controller=True):
    return [
        {"kind": kind, "apiVersion": version, "name": name, "uid": uid, "controller": controller}
    ]


def run(name="hello-1", uid=UID, **spec):
    body = manifests.run(name, **spec)
    body["metadata"] |= {"uid": uid, "namespace": "codexrun"}
    return body


def job(name="hello-1-11111111-1", uid="job-1", run_name="hello-1", run_uid=UID, **more):
    above = owner("CodexRun", "codexrun.dev/v1alpha1", run_name, run_uid)
    return {"metadata": {"name": name, "uid": uid, "ownerReferences": above, **more}}


def pod(uid="pod-1", owners=None, labels=None):
    owners = owner("Job", "batch/v1", "hello-1-11111111-1", "job-1") if owners is None else owners
    return {
        "metadata": {"name": "p", "uid": uid, "ownerReferences": owners, "labels": labels or {}}
    }


def review(
    authenticated=True,
    audiences=("codexrun-api",),
    user="system:serviceaccount:codexrun:codexrun-agent",
    **extra,
):
    bound = extra or {"pod-name": ["p"], "pod-uid": ["pod-1"]}
    named = {
        f"authentication.kubernetes.io/{key.replace('_', '-')}": value
        for key, value in bound.items()
    }
    return {
        "authenticated": authenticated,
        "audiences": list(audiences),
        "user": {"username": user, "extra": named},
    }


class FakeKube:
    """TokenReviews and reads, counted; `down`: the apiserver is away."""

    namespace = "codexrun"
    pods = "/pods"
    jobs = "/jobs"
    runs = "/runs"

    def __init__(self, answer, things):
        self.answer = answer
        self.things = things
        self.reviews = 0
        self.down = False

    async def create(self, path, body):
        if self.down:
            raise Unavailable("away")
        assert path.endswith("/tokenreviews")
        assert body["spec"]["audiences"] == ["codexrun-api"]
        self.reviews += 1
        return {"status": self.answer}

    async def get(self, path):
        if self.down:
            raise Unavailable("away")
        if path not in self.things:
            raise NotFound(404, "NotFound", f"{path} not found")
        return copy.deepcopy(self.things[path])


def world(answer=None, **changes):
    things = {"/pods/p": pod(), "/jobs/hello-1-11111111-1": job(), "/runs/hello-1": run()}
    things |= {
        f"/{key.replace('__', '/').replace('_', '-')}": value for key, value in changes.items()
    }
    return FakeKube(
        answer or review(), {key: value for key, value in things.items() if value is not None}
    )


forged = {"codexrun.dev/run-uid": UID, "codexrun.dev/run": "hello-1", "codexrun.dev/attempt": "1"}
REFUSED = [
    ("an expired token", 401, world(review(authenticated=False))),
    ("another audience's", 401, world(review(audiences=("https://kubernetes.default.svc",)))),
    ("a server that knows no audiences", 401, world(review(audiences=()))),
    ("a user's", 403, world(review(user="admin"))),
    ("a service account's, bound to no pod", 403, world(review(node_name=["n"]))),
    ("another namespace's", 403, world(review(user="system:serviceaccount:other:codexrun-agent"))),
    ("another pod of that name", 403, world(pods__p=pod(uid="pod-2"))),
    ("a pod that is gone", 403, world(pods__p=None)),
    ("a look-alike with forged labels", 403, world(pods__p=pod(owners=[], labels=forged))),
    (
        "owned, but not controlled",
        403,
        world(pods__p=pod(owners=owner("Job", "batch/v1", "hello-1-11111111-1", "job-1", False))),
    ),
    (
        "controlled by a ReplicaSet",
        403,
        world(pods__p=pod(owners=owner("ReplicaSet", "apps/v1", "x", "job-1"))),
    ),
    (
        "a Job of another API group",
        403,
        world(pods__p=pod(owners=owner("Job", "evil/v1", "hello-1-11111111-1", "job-1"))),
    ),
    ("a Job made anew under the name", 403, world(jobs__hello_1_11111111_1=job(uid="job-2"))),
    ("a Job that is gone", 403, world(jobs__hello_1_11111111_1=None)),
    ("a Job of nobody's", 403, world(jobs__hello_1_11111111_1={"metadata": {"uid": "job-1"}})),
    ("a Job of a run that was made anew", 403, world(runs__hello_1=run(uid=OTHER))),
    (
        "a Job whose name is of another run",
        403,
        world(
            pods__p=pod(owners=owner("Job", "batch/v1", "look-alike", "job-1")),
            jobs__look_alike=job("look-alike"),
        ),
    ),
    (
        "a Job whose attempt is no number",
        403,
        world(
            pods__p=pod(owners=owner("Job", "batch/v1", "hello-1-11111111-x", "job-1")),
            jobs__hello_1_11111111_x=job("hello-1-11111111-x"),
        ),
    ),
]


@pytest.mark.parametrize(
    ("status", "kube"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
async def test_refused(status, kube):
    with pytest.raises(NotAGate) as refused:
        await GateAuthentication(kube)(TOKEN, PEER)
    assert refused.value.status == status


async def test_the_gate_of_the_run_is_believed():
    assert await GateAuthentication(world())(TOKEN, PEER) == GateIdentity(UID, 1, "p")


@pytest.mark.parametrize(
    ("retry", "resumes"),
    [
        ({"name": "old", "uid": OTHER, "resume": True}, OTHER),
        ({"name": "old", "uid": OTHER}, None),
        ({"name": "old", "resume": True}, None),  # names come again
    ],
)
async def test_whose_rollout_it_asks_for(retry, resumes):
    kube = world(runs__hello_1=run(retryOf=retry), runs__old=run("old", OTHER))
    assert (await GateAuthentication(kube)(TOKEN, PEER)).resumes == resumes


async def test_an_empty_and_an_endless_token_are_not_even_reviewed():
    kube = world()
    for token in ("", "x" * 10_000):
        with pytest.raises(NotAGate):
            await GateAuthentication(kube)(token, PEER)
    assert kube.reviews == 0


async def test_the_review_is_repeated_after_a_minute_and_the_chain_outlives_the_job():
    kube = world()
    now = [1000.0]
    senders = GateAuthentication(kube, lambda: now[0])
    first = await senders(TOKEN, PEER)
    # a run deleted by hand loses its Job at once, its pod ends within the grace
    kube.things.clear()
    now[0] += 59
    assert await senders(TOKEN, PEER) == first
    assert kube.reviews == 1
    now[0] += 2
    assert await senders(TOKEN, PEER) == first
    assert kube.reviews == 2
    kube.answer = review(authenticated=False)
    now[0] += 61
    with pytest.raises(NotAGate):
        await senders(TOKEN, PEER)


async def test_an_apiserver_that_is_away_refuses_nobody():
    kube = world()
    kube.down = True
    with pytest.raises(Unavailable):
        await GateAuthentication(kube)(TOKEN, PEER)


NO_GATES = [
    ("no token of the kind", 401, "nonsense"),
    ("two parts", 401, "e30.e30"),
    ("four parts", 401, f"{TOKEN}.e30"),
    ("no base64", 401, "e30.{}.x"),
    ("no JSON", 401, jwt("{")),
    ("a list", 401, jwt("[]")),
    ("deep JSON", 401, jwt("[" * 5_000)),
    ("no UTF-8", 401, "e30.gICA.x"),
    ("another audience", 401, jwt(aud=["https://kubernetes.default.svc"])),
    ("no audience", 401, jwt(aud=None)),
    ("an audience that is a number", 401, jwt(aud=7)),
    ("a part of the audience", 401, jwt(aud="codexrun-api-2")),
    ("over", 401, jwt(exp=time.time() - 3600)),
    ("over at a time that is none", 401, jwt(exp="never")),
    ("another namespace", 403, jwt(**{"kubernetes.io": POD | {"namespace": "other"}})),
    ("no service account's", 403, jwt(**{"kubernetes.io": None})),
    ("bound to no pod", 403, jwt(**{"kubernetes.io": {"namespace": "codexrun"}})),
]


@pytest.mark.parametrize(
    ("status", "token"), [row[1:] for row in NO_GATES], ids=[row[0] for row in NO_GATES]
)
async def test_what_says_itself_that_it_is_no_gates_is_not_even_reviewed(status, token):
    kube = world()
    with pytest.raises(NotAGate) as refused:
        await GateAuthentication(kube)(token, PEER)
    assert refused.value.status == status
    assert kube.reviews == 0


def test_the_clocks_of_node_and_apiserver_may_differ():
    check_claims(jwt(exp=1000.0), "codexrun", 1000.0 + CLOCK_LEEWAY_SECONDS)
    check_claims(jwt(aud="codexrun-api"), "codexrun", 0)
    with pytest.raises(NotAGate):
        check_claims(jwt(exp=1000.0), "codexrun", 1001.0 + CLOCK_LEEWAY_SECONDS)


async def test_a_token_that_was_refused_is_so_for_some_seconds_more():
    kube = world(review(authenticated=False))
    now = [1000.0]
    senders = GateAuthentication(kube, lambda: now[0])
    for _ in range(50):
        with pytest.raises(NotAGate):
            await senders(TOKEN, PEER)
    assert kube.reviews == 1
    kube.answer = review()
    now[0] += gate_identity.REFUSAL_TTL_SECONDS
    assert (await senders(TOKEN, PEER)).run_id == UID


async def test_the_same_token_many_times_at_once_is_reviewed_once():
    kube = world()
    senders = GateAuthentication(kube)
    told = await asyncio.gather(
        *(senders(TOKEN, f"10.0.0.{number}") for number in range(20)), return_exceptions=True
    )
    assert {each.run_id for each in told} == {UID}
    assert kube.reviews <= gate_identity.REVIEWS


async def test_an_address_that_sends_many_wrong_tokens_waits_and_others_do_not():
    kube = world(review(authenticated=False))
    now = [1000.0]
    senders = GateAuthentication(kube, lambda: now[0])
    said = []
    for number in range(100):
        try:
            await senders(jwt(jti=str(number)), "10.6.6.6")
        except (NotAGate, Unavailable) as error:
            said.append(type(error))
    assert said.count(NotAGate) == kube.reviews == gate_identity.REFUSALS_OF_PEER
    assert set(said[gate_identity.REFUSALS_OF_PEER :]) == {Unavailable}, "a gate would come again"
    kube.answer = review()
    assert (await senders(TOKEN, PEER)).run_id == UID
    assert (await senders(TOKEN, "10.6.6.6")).run_id == UID, "known by now, whoever sends it"
    now[0] += gate_identity.REFUSAL_SECONDS
    assert (await senders(jwt(jti="later"), "10.6.6.6")).run_id == UID


async def test_one_address_does_not_take_all_reviews_at_once():
    kube = world()
    going_on = asyncio.Event()
    review_of = kube.create

    async def slow(path, body):
        await going_on.wait()
        return await review_of(path, body)

    kube.create = slow
    senders = GateAuthentication(kube)
    hostile = [
        asyncio.ensure_future(senders(jwt(jti=str(number)), "10.6.6.6")) for number in range(50)
    ]
    for _ in range(3):
        await asyncio.sleep(0)
    refused = [task for task in hostile if task.done()]
    assert len(refused) == 50 - gate_identity.REVIEWS_OF_PEER
    assert all(isinstance(task.exception(), Unavailable) for task in refused)
    gate = asyncio.ensure_future(senders(TOKEN, PEER))
    going_on.set()
    assert (await gate).run_id == UID
    await asyncio.gather(*hostile, return_exceptions=True)
    assert not senders._reviews_of
