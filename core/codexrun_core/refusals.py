"""Whose fault is the apiserver's no? From status code and words to a cause. Pure.

A `Status` has no field for it: RBAC, admission plugins, webhooks and policies all answer 403 with
reason Forbidden, so that the words decide. They come from k8s.io/apiserver
(`pkg/admission/errors.go`, `pkg/endpoints/handlers/responsewriters`,
`pkg/admission/plugin/{webhook,policy/validating,resourcequota}`) and k8s.io/pod-security-admission.
"""

import re
from enum import StrEnum


class Cause(StrEnum):
    """The value is the reason that conditions and metrics show."""

    # somebody was faster, or it was too slow: the same request again has a fair chance
    CONFLICT = "Conflict"
    NOT_AUTHORIZED = "NotAuthorized"  # this process may not do it, whatever the object says
    QUOTA_EXCEEDED = "QuotaExceeded"  # frees itself
    DENIED = "JobDenied"  # a policy of the cluster
    INVALID = "JobInvalid"  # the object itself

    @property
    def about_the_object(self) -> bool:
        """Return whether another object could fare better than this one, at the same moment."""
        return self in (Cause.DENIED, Cause.INVALID)


# Asked first: these may quote any other text in their message.
_BY_POLICY = re.compile(
    r"""admission webhook "[^"]*" denied the request|ValidatingAdmissionPolicy '[^']*'"""
    r"""|violates PodSecurity \""""
)
_BY_QUOTA = re.compile(r"\bexceeded quota: |\bstatus unknown for quota: ")
# `jobs.batch is forbidden: User "x" cannot create resource "jobs" in API group "batch" in the
# namespace "n"`
_BY_AUTHORIZER = re.compile(r'\bis forbidden: User "[^"]*" cannot \S+ (?:resource|path) "')
_NAMED = re.compile(r'^[A-Za-z.]+ "[^"]*" is (?:forbidden|invalid): ')


def cause_of(status: int, message: str) -> Cause:
    """Return the cause of a refusal with this HTTP status and message; "already exists" is for the
    caller to know."""
    if _BY_POLICY.search(message):
        return Cause.DENIED
    if status == 401:
        return Cause.NOT_AUTHORIZED
    if status in (408, 409, 429):
        return Cause.CONFLICT
    if status == 403:
        if _BY_AUTHORIZER.search(message):
            return Cause.NOT_AUTHORIZED
        return Cause.QUOTA_EXCEEDED if _BY_QUOTA.search(message) else Cause.DENIED
    return Cause.INVALID


def without_name(message: str) -> str:
    """Return the apiserver's message without the object's name at its beginning, so that it is the
    same for all objects of a kind."""
    return _NAMED.sub("", message)
