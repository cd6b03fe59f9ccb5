"""The reasons that codexrun writes into a status, a condition or an Event, each once.

Users' tools read them: a reason keeps its text for good. What the apiserver refuses has the values
of `codexrun_core.refusals.Cause` as reasons.
"""

# A run that waits before its Job is made.
JOB_TYPE_NOT_FOUND = "JobTypeNotFound"
PROMPT_NOT_FOUND = "PromptNotFound"
CONCURRENCY_LIMIT = "ConcurrencyLimit"
SUSPENDED = "Suspended"  # the job type
JOB_TYPE_HELD = "JobTypeHeld"  # the cluster refuses its Jobs
JOB_REFUSED = "JobRefused"  # the cluster refuses this run's Job
UNKNOWN_VALUE = "UnknownValue"  # a newer operator wrote it
UNREADABLE = "Unreadable"  # the run, its job type or its prompt is of another version

# A run that is rejected.
INVALID_INPUTS = "InvalidInputs"
INPUTS_TOO_LARGE = "InputsTooLarge"
JOB_TYPE_INVALID = "JobTypeInvalid"
PROMPT_VERSION_NOT_ALLOWED = "PromptVersionNotAllowed"
PROMPT_CHECKSUM_MISMATCH = "PromptChecksumMismatch"
MODEL_NOT_ALLOWED = "ModelNotAllowed"
EFFORT_NOT_ALLOWED = "EffortNotAllowed"
LIMIT_ABOVE_JOB_TYPE = "LimitAboveJobType"
UNKNOWN_PRICE = "UnknownPrice"
WORKSPACE_NOT_ALLOWED = "WorkspaceNotAllowed"
RESUME_NOT_ALLOWED = "ResumeNotAllowed"
QUEUE_FULL = "QueueFull"

# A run that starts.
STARTING = "Starting"
CLONING = "Cloning"
IMAGE_PULL = "ImagePull"
UNSCHEDULABLE = "Unschedulable"
MISSING_CONFIG = "MissingConfig"
MISSING_VOLUME = "MissingVolume"
CONTAINER_REFUSED = "ContainerRefused"
CONTAINER_CRASHING = "ContainerCrashing"
SANDBOX_REFUSED = "SandboxRefused"  # the pod's: network and runtime class
POD_REFUSED = "PodRefused"

# A run that runs, and conditions that hold.
VALID = "Valid"
SLOT_TAKEN = "SlotTaken"
AGENT_RUNNING = "AgentRunning"

# A run that stops, or ended without a report.
CANCEL_REQUESTED = "CancelRequested"
COMPLETED = "Completed"
AGENT_ENDED = "AgentEnded"  # and something else keeps its pod alive
EVICTED = "Evicted"
NODE_LOST = "NodeLost"
JOB_DELETED = "JobDeleted"
JOB_LOST = "JobLost"
JOB_SUSPENDED = "JobSuspended"
POD_DELETED = "PodDeleted"
POD_LOST = "PodLost"
DELETED_UNSEEN = "DeletedUnseen"  # written by the registry: the object went while nobody watched

# A job type that is not ready.
INVALID_SCHEMA = "InvalidSchema"
