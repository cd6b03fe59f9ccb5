"""What apiservers answer to the creation of a Job, in their own words: status, reason, message, and
whose fault it is."""

from codexrun_core.refusals import Cause

USER = 'User "system:serviceaccount:codexrun:codexrun-operator"'
JOB = 'jobs.batch "r0-00000001-1"'

REFUSALS = {
    "rbac": (
        403,
        "Forbidden",
        (
            f'jobs.batch is forbidden: {USER} cannot create resource "jobs" in API group "batch" in'
            ' the namespace "codexrun"'
        ),
        Cause.NOT_AUTHORIZED,
    ),
    "rbac, a role that is gone": (
        403,
        "Forbidden",
        (
            f'jobs.batch is forbidden: {USER} cannot create resource "jobs" in API group "batch" in'
            ' the namespace "codexrun": RBAC: role.rbac.authorization.k8s.io "codexrun-operator"'
            " not found"
        ),
        Cause.NOT_AUTHORIZED,
    ),
    "rbac, without a token": (
        403,
        "Forbidden",
        (
            'jobs.batch is forbidden: User "system:anonymous" cannot create resource "jobs" in API'
            ' group "batch" in the namespace "codexrun"'
        ),
        Cause.NOT_AUTHORIZED,
    ),
    "token not taken": (401, "Unauthorized", "Unauthorized", Cause.NOT_AUTHORIZED),
    "quota": (
        403,
        "Forbidden",
        (
            f"{JOB} is forbidden: exceeded quota: jobs, requested: count/jobs.batch=1, used:"
            " count/jobs.batch=5, limited: count/jobs.batch=5"
        ),
        Cause.QUOTA_EXCEEDED,
    ),
    "quota not counted yet": (
        403,
        "Forbidden",
        f"{JOB} is forbidden: status unknown for quota: jobs, resources: count/jobs.batch",
        Cause.QUOTA_EXCEEDED,
    ),
    "two at once against one quota": (
        409,
        "Conflict",
        (
            'Operation cannot be fulfilled on resourcequotas "jobs": the object has been modified;'
            " please apply your changes to the latest version and try again"
        ),
        Cause.CONFLICT,
    ),
    "webhook": (
        403,
        "Forbidden",
        (
            'admission webhook "validate.kyverno.svc-fail" denied the request: resource'
            " Job/codexrun/r0 was blocked due to the following policies: require-labels"
        ),
        Cause.DENIED,
    ),
    "webhook with its own code": (
        400,
        "BadRequest",
        (
            'admission webhook "validation.gatekeeper.sh" denied the request: [team-label] you must'
            ' provide labels: {"team"}'
        ),
        Cause.DENIED,
    ),
    "webhook without a word": (
        400,
        "",
        'admission webhook "x.example.com" denied the request without explanation',
        Cause.DENIED,
    ),
    "webhook that quotes an authorizer": (
        403,
        "Forbidden",
        (
            f'admission webhook "x.example.com" denied the request: jobs.batch is forbidden: {USER}'
            ' cannot create resource "jobs"'
        ),
        Cause.DENIED,
    ),
    "ValidatingAdmissionPolicy": (
        422,
        "Invalid",
        (
            f"{JOB} is forbidden: ValidatingAdmissionPolicy 'no-jobs' with binding 'no-jobs' denied"
            " request: no Jobs at night"
        ),
        Cause.DENIED,
    ),
    "Pod Security": (
        403,
        "Forbidden",
        (
            'pods "r0" is forbidden: violates PodSecurity "restricted:latest":'
            ' allowPrivilegeEscalation != false (container "agent" must set'
            " securityContext.allowPrivilegeEscalation=false)"
        ),
        Cause.DENIED,
    ),
    "namespace that goes": (
        403,
        "Forbidden",
        (
            f"{JOB} is forbidden: unable to create new content in namespace codexrun because it is"
            " being terminated"
        ),
        Cause.DENIED,
    ),
    "invalid field": (
        422,
        "Invalid",
        (
            'Job.batch "r0-00000001-1" is invalid:'
            ' spec.template.spec.containers[0].resources.requests: Invalid value: "2": must be less'
            " than or equal to cpu limit of 1"
        ),
        Cause.INVALID,
    ),
    "unknown field": (
        400,
        "BadRequest",
        'Job in version "v1" cannot be handled as a Job: unknown field "x"',
        Cause.INVALID,
    ),
    "namespace not there": (404, "NotFound", 'namespaces "codexrun" not found', Cause.INVALID),
    "too large": (
        413,
        "RequestEntityTooLarge",
        "Request entity too large: limit is 3145728",
        Cause.INVALID,
    ),
}
