"""CodexJobType: what a kind of run may do. Everything that grants power is here and never in a
run's spec."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from codexrun_core.codex import tools
from codexrun_core.resources.fields import (
    DAY,
    NAME_IS_A_LABEL,
    AnyJson,
    Conditions,
    Effort,
    ModelName,
    Name,
    ObjectMeta,
    Part,
    PromptVersion,
    Sha256,
    cel,
)
from codexrun_core.resources.limits import Limits

SecretName = Annotated[
    str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
]
LabelKey = Annotated[
    str,
    Field(
        min_length=1,
        max_length=317,
        pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
    ),
]
Quantity = Annotated[int | str, Field(json_schema_extra={"x-kubernetes-int-or-string": True})]
Size = Annotated[str, Field(max_length=16, pattern=r"^[1-9][0-9]{0,6}[MG]i$")]
DataKey = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]


class PromptRef(Part):
    """A version of a prompt, stored in the cluster as an immutable ConfigMap."""

    name: Annotated[Name, Field(description="The prompt's name.")]
    version: Annotated[PromptVersion, Field(description="The prompt's version: v1, v2, ...")]
    sha256: Annotated[
        Sha256 | None,
        Field(
            description=(
                "SHA-256 checksum of the prompt's text; a run is Rejected if the stored text"
                " has a different checksum."
            )
        ),
    ] = None
    allow_override: Annotated[
        bool, Field(description="Whether a run may choose another version of this prompt.")
    ] = False


class SecretRef(Part):
    """A Secret in the same namespace."""

    name: Annotated[SecretName, Field(description="The Secret's name.")]


class GitAccess(Part):
    """Which repositories runs may clone, and with what."""

    allowed_urls: Annotated[
        list[
            Annotated[
                str,
                Field(
                    max_length=1024,
                    pattern=r"^https?://[^/@*]+/[^*]*\*?$",
                ),
            ]
        ],
        Field(
            alias="allowedURLs",
            min_length=1,
            max_length=32,
            description=(
                "URLs that a run may clone: exact URLs, or prefixes that end in *, such as"
                " https://github.com/acme/*."
            ),
        ),
    ]
    credentials_secret_ref: Annotated[
        SecretRef | None,
        Field(
            description=(
                "Secret of type kubernetes.io/basic-auth (username, password), which only the"
                " clone step can read."
            )
        ),
    ] = None
    depth: Annotated[
        int | None,
        Field(
            ge=1,
            le=1_000_000,
            description=(
                "Number of commits of the run's ref to clone; the whole history of all branches if"
                " absent. The agent cannot fetch more later."
            ),
        ),
    ] = None
    memory: Annotated[
        Size | None,
        Field(
            description=(
                "Memory limit of the clone step, such as 4Gi for a large history; the"
                " installation's default, usually 1Gi, if absent."
            )
        ),
    ] = None
    timeout_seconds: Annotated[
        int | None,
        Field(
            ge=1,
            le=DAY,
            description=(
                "Maximum number of seconds that the clone may take, added to"
                " limits.startSeconds. If absent, the clone counts towards startSeconds."
            ),
        ),
    ] = None


class SecretKeyRef(Part):
    """One key of a Secret in the same namespace."""

    name: Annotated[SecretName, Field(description="The Secret's name.")]
    key: Annotated[DataKey, Field(description="The key in the Secret.")]
    optional: Annotated[
        bool,
        Field(
            description="Whether runs may start if the key is missing; the variable is then unset."
        ),
    ] = False


class ConfigMapKeyRef(Part):
    """One key of a ConfigMap in the same namespace."""

    name: Annotated[SecretName, Field(description="The ConfigMap's name.")]
    key: Annotated[DataKey, Field(description="The key in the ConfigMap.")]
    optional: Annotated[
        bool,
        Field(
            description="Whether runs may start if the key is missing; the variable is then unset."
        ),
    ] = False


class EnvSource(Part):
    """Where the value comes from."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                cel(
                    "has(self.secretKeyRef) != has(self.configMapKeyRef)",
                    "spec.env: valueFrom needs either secretKeyRef or configMapKeyRef; set exactly"
                    " one of them",
                )
            ]
        }
    )

    secret_key_ref: Annotated[
        SecretKeyRef | None,
        Field(
            description=(
                "A key of a Secret; the value is masked in all output if it has at least 6"
                " characters."
            )
        ),
    ] = None
    config_map_key_ref: Annotated[
        ConfigMapKeyRef | None,
        Field(description="A key of a ConfigMap; the value is not masked."),
    ] = None


EnvName = Annotated[str, Field(max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class EnvVar(Part):
    """An environment variable of the agent. A value from a Secret is masked in all output if it has
    at least 6 characters."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                cel(
                    "has(self.value) != has(self.valueFrom)",
                    "spec.env: each variable needs either value or valueFrom; set exactly one of"
                    " them",
                )
            ]
        }
    )

    name: Annotated[
        str,
        Field(
            max_length=128,
            pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
            description="The variable's name.",
            json_schema_extra={
                "x-kubernetes-validations": [
                    cel(
                        "!self.startsWith('CODEX') && !(self in ['HOME', 'PATH', 'TMPDIR',"
                        " 'LD_PRELOAD'])",
                        "spec.env: HOME, PATH, TMPDIR, LD_PRELOAD and all names that start with"
                        " CODEX are reserved for codexrun; choose another name",
                    )
                ]
            },
        ),
    ]
    value: Annotated[
        str | None,
        Field(
            max_length=4096,
            description="The value itself, which must not be a secret; it is not masked.",
        ),
    ] = None
    value_from: EnvSource | None = None

    @property
    def secret(self) -> bool:
        """Return whether the value comes from a Secret."""
        return self.value_from is not None and self.value_from.secret_key_ref is not None


class Amounts(Part):
    """Quantities of CPU, memory and disk space, as in a pod."""

    cpu: Annotated[Quantity | None, Field(description="Cores, such as 500m or 2.")] = None
    memory: Annotated[Quantity | None, Field(description="Bytes, such as 512Mi or 4Gi.")] = None
    ephemeral_storage: Annotated[
        Quantity | None,
        Field(
            alias="ephemeral-storage",
            description="Disk space for all directories of the pod and for its logs.",
        ),
    ] = None


class Resources(Part):
    """Resources of the agent's container, as in a pod."""

    requests: Amounts | None = None
    limits: Amounts | None = None


class Sizes(Part):
    """Sizes of the directories that the agent may write to; the default of
    resources.limits.ephemeral-storage is the sum of workspace, home and tmp plus 2Gi."""

    workspace: Annotated[Size, Field(description="Size of /workspace, including the clone.")] = (
        "8Gi"
    )
    home: Annotated[
        Size, Field(description="Size of the agent's HOME, which holds the caches of its tools.")
    ] = "2Gi"
    tmp: Annotated[Size, Field(description="Size of /tmp.")] = "2Gi"
    shared_memory: Annotated[
        Size | None,
        Field(
            description=(
                "Size of /dev/shm, for browsers and databases; counts towards the memory limit. If"
                " absent, the default of the node's container runtime, usually 64 MiB."
            )
        ),
    ] = None


class Toleration(Part):
    """A toleration, as in a pod."""

    key: Annotated[
        str | None,
        Field(max_length=317, description="Key of the tolerated taint; every taint if absent."),
    ] = None
    operator: Annotated[
        Literal["Exists", "Equal"] | None,
        Field(description="Equal compares the value; Exists matches every value. Equal if absent."),
    ] = None
    value: Annotated[
        str | None, Field(max_length=63, description="Value of the tolerated taint, for Equal.")
    ] = None
    effect: Annotated[
        Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None,
        Field(description="Effect of the tolerated taint; all effects if absent."),
    ] = None
    toleration_seconds: Annotated[
        int | None,
        Field(
            description=(
                "For NoExecute: seconds for which the taint is tolerated; forever if absent."
            )
        ),
    ] = None


StringMap = Annotated[dict[str, Annotated[str, Field(max_length=1024)]], Field(max_length=32)]


class PodTemplate(Part):
    """Placement, labels and annotations of the pods; nothing that changes what runs in them."""

    node_selector: Annotated[
        StringMap | None, Field(description="Labels that a node must have.")
    ] = None
    tolerations: Annotated[
        list[Toleration] | None, Field(max_length=16, description="Tolerations of the pods.")
    ] = None
    annotations: Annotated[
        StringMap | None, Field(description="Additional annotations of the pods.")
    ] = None
    labels: Annotated[
        StringMap | None,
        Field(
            description="Additional labels of the pods.",
            json_schema_extra={
                "x-kubernetes-validations": [
                    cel(
                        "self.all(key, !key.startsWith('codexrun.dev/') &&"
                        " !key.startsWith('app.kubernetes.io/'))",
                        "spec.podTemplate.labels may not contain keys with the prefix codexrun.dev/"
                        " or app.kubernetes.io/, because codexrun sets those labels; choose another"
                        " prefix",
                    )
                ]
            },
        ),
    ] = None
    image_pull_secrets: Annotated[
        list[SecretRef] | None,
        Field(max_length=8, description="Secrets for pulling the agent's image."),
    ] = None
    priority_class_name: Annotated[
        str | None, Field(max_length=253, description="PriorityClass of the pods.")
    ] = None


class McpServer(Part):
    """An MCP server that Codex starts or connects to. Codex may call only the tools that
    allowedTools lists."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                cel(
                    "has(self.command) != has(self.url)",
                    "spec.mcpServers: each server needs either command (a program in the agent's"
                    " image) or url; set exactly one of them",
                ),
                cel(
                    "!has(self.bearerTokenEnv) || has(self.url)",
                    "spec.mcpServers: bearerTokenEnv works only with url; for a command, use env",
                ),
            ]
        }
    )

    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=32,
            pattern=f"^{tools.SERVER_PATTERN}$",
            description="The name used in allowedTools: lowercase letters and digits.",
        ),
    ]
    command: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=1024)]] | None,
        Field(
            min_length=1,
            max_length=64,
            description="Program and arguments; the program runs in the agent's container.",
        ),
    ] = None
    url: Annotated[
        str | None,
        Field(
            max_length=1024,
            pattern=r"^https?://[^\s@?#]+$",
            description="URL of a server that uses the streamable HTTP transport.",
        ),
    ] = None
    env: Annotated[
        list[EnvName] | None,
        Field(max_length=32, description="Names of variables in spec.env that the program gets."),
    ] = None
    bearer_token_env: Annotated[
        EnvName | None,
        Field(
            description="Name of the variable in spec.env whose value is sent as the bearer token."
        ),
    ] = None
    start_timeout_seconds: Annotated[
        int | None,
        Field(
            ge=1,
            le=3600,
            description="Maximum number of seconds that the server may take to start; if absent,"
            " 30, which is Codex's default.",
        ),
    ] = None
    call_timeout_seconds: Annotated[
        int | None,
        Field(
            ge=1,
            le=7 * DAY,
            description=(
                "Maximum number of seconds that a tool call may take; the run's"
                " limits.timeoutSeconds if absent."
            ),
        ),
    ] = None


ToolEntry = Annotated[str, Field(max_length=128, pattern=tools.ENTRY_PATTERN)]


class JobTypeSpec(Part):
    """What the runs of this job type do, and their limits."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                cel(
                    "!has(self.allowedModels) || self.model in self.allowedModels",
                    "spec.allowedModels must contain spec.model; add it to the list",
                ),
                cel(
                    "!has(self.effort) || !has(self.allowedEfforts) || self.effort in"
                    " self.allowedEfforts",
                    "spec.allowedEfforts must contain spec.effort; add it to the list",
                ),
                cel(
                    "!has(self.allowedTools) || self.allowedTools.all(t, !t.startsWith('mcp:') ||"
                    " (has(self.mcpServers) && self.mcpServers.exists(s, t == 'mcp:' + s.name ||"
                    " t.startsWith('mcp:' + s.name + '/'))))",
                    "spec.allowedTools names an MCP server that is not in spec.mcpServers; add the"
                    " server there",
                ),
                cel(
                    "!has(self.mcpServers) || self.mcpServers.all(s, (!has(s.env) || s.env.all(n,"
                    " has(self.env) && self.env.exists(e, e.name == n))) && (!has(s.bearerTokenEnv)"
                    " || (has(self.env) && self.env.exists(e, e.name == s.bearerTokenEnv))))",
                    "spec.mcpServers names a variable that is not in spec.env; add the"
                    " variable there",
                ),
            ]
        }
    )

    description: Annotated[
        str | None,
        Field(
            max_length=1024,
            description="Human-readable description of what the runs of this job type do.",
        ),
    ] = None
    prompt: PromptRef
    inputs_schema: Annotated[
        AnyJson | None,
        Field(
            description=(
                "JSON Schema (2020-12) of a run's inputs. If absent, each placeholder of the"
                " prompt is a required string, and no other inputs are allowed."
            ),
            json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
        ),
    ] = None
    title_template: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=256,
            description=(
                "Title of a run in lists, with placeholders for inputs, such as Review {{ref}}. If"
                " absent, the title is the first input that is a string or a number."
            ),
        ),
    ] = None
    output_schema: Annotated[
        AnyJson | None,
        Field(
            description=(
                "JSON Schema (2020-12) of the final message. If set, Codex gets the schema, and a"
                " run fails unless its final message is JSON that matches the schema."
            ),
            json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
        ),
    ] = None
    model: Annotated[ModelName, Field(description="Default model of the job type's runs.")]
    allowed_models: Annotated[
        list[ModelName] | None,
        Field(
            max_length=32, description="Models that a run may choose; only spec.model if absent."
        ),
    ] = None
    max_output_tokens: Annotated[
        int | None,
        Field(
            ge=16,
            le=1_000_000_000,
            description=(
                "Maximum number of output tokens per response, for a model whose endpoint"
                " rejects a higher max_output_tokens. If absent, the value in the price table;"
                " if the table has none, 128000."
            ),
        ),
    ] = None
    effort: Annotated[
        Effort | None, Field(description="Reasoning effort; the model's own default if absent.")
    ] = None
    allowed_efforts: Annotated[
        list[Effort] | None,
        Field(
            max_length=8,
            description="Reasoning efforts that a run may choose; only spec.effort if absent.",
        ),
    ] = None
    require_known_price: Annotated[
        bool,
        Field(
            description=(
                "Reject runs with a model that is not in the price table, because their cost would"
                " be unknown."
            )
        ),
    ] = False
    limits: Annotated[
        Limits, Field(description="Limits of each run of this job type; a run can lower them.")
    ] = Limits()
    allowed_tools: Annotated[
        list[ToolEntry] | None,
        Field(
            max_length=64,
            description=(
                "What the agent may use: shell, apply_patch, web_search, view_image, mcp:<server>"
                " for all tools of an MCP server, or mcp:<server>/<tool> for one tool. If absent,"
                " shell and apply_patch are allowed; if empty, nothing is."
            ),
        ),
    ] = None
    mcp_servers: Annotated[
        list[McpServer] | None,
        Field(
            max_length=16,
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
            },
            description="MCP servers; allowedTools says which of their tools may be used.",
        ),
    ] = None
    sandbox: Annotated[
        Literal["pod", "codex"],
        Field(
            description=(
                "The boundary around the agent's commands. With pod, it is the pod alone. With"
                " codex, Codex's own sandbox is added inside the pod (no network; only /workspace"
                " and /tmp are writable); a run whose pod does not allow that sandbox fails before"
                " Codex starts."
            )
        ),
    ] = "pod"
    model_secret_ref: Annotated[
        SecretRef | None,
        Field(
            description=(
                "Secret whose entry api-key contains the model's API key, which is used instead"
                " of the installation's API key. Only the gate can read the Secret."
            )
        ),
    ] = None
    concurrency_limit: Annotated[
        int,
        Field(
            ge=1,
            le=10_000,
            description="Maximum number of runs of this job type that have a pod at the same time.",
        ),
    ] = 1
    max_queued: Annotated[
        int | None,
        Field(
            ge=0,
            le=100_000,
            description=(
                "Maximum number of runs that wait for a slot; further runs are Rejected."
                " Unlimited if absent."
            ),
        ),
    ] = None
    git: Annotated[
        GitAccess | None,
        Field(
            description="Git repositories that runs may clone; if absent, runs cannot clone any."
        ),
    ] = None
    env: Annotated[
        list[EnvVar] | None,
        Field(
            max_length=64,
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
            },
            description=(
                "Environment variables of the agent. Values from Secrets are masked in all output"
                " if they have at least 6 characters; if they are shorter, they are not masked,"
                " and the run gets a warning."
            ),
        ),
    ] = None
    image: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=512,
            description=(
                "The agent's image, built by `make image` on a base image that contains your"
                " toolchain; the installation's default image if absent."
            ),
        ),
    ] = None
    resources: Resources | None = None
    sizes: Sizes = Sizes()
    max_agents_md_bytes: Annotated[
        int,
        Field(
            ge=0,
            le=1_048_576,
            description=(
                "Maximum number of bytes that Codex reads from AGENTS.md files; if they are"
                " longer, the rest is ignored and the run gets a warning. With 0, the files are"
                " not read at all."
            ),
        ),
    ] = 32_768
    propagate_labels: Annotated[
        list[LabelKey] | None,
        Field(
            max_length=16,
            json_schema_extra={
                "x-kubernetes-list-type": "set",
                "x-kubernetes-validations": [
                    cel(
                        "self.all(key, !key.startsWith('codexrun.dev/') &&"
                        " !key.startsWith('app.kubernetes.io/'))",
                        "spec.propagateLabels may not contain keys with the prefix codexrun.dev/ or"
                        " app.kubernetes.io/, because codexrun sets those labels; remove these"
                        " keys",
                    )
                ],
            },
            description=(
                "Keys of run labels, such as team, that are copied to the run's Job and pod for"
                " cost allocation and network policies. A label in podTemplate takes precedence."
            ),
        ),
    ] = None
    runtime_class_name: Annotated[
        str | None,
        Field(
            max_length=253,
            description="RuntimeClass of the pods, such as gvisor, if your cluster has one.",
        ),
    ] = None
    pod_template: PodTemplate | None = None
    queue_name: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=63,
            pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
            description=(
                "Name of a LocalQueue, if your cluster has Kueue. The Jobs get it as the label"
                " kueue.x-k8s.io/queue-name, and start when Kueue admits them."
            ),
        ),
    ] = None
    suspended: Annotated[
        bool,
        Field(
            description=(
                "While true, no run of this job type starts; runs that have started continue."
            )
        ),
    ] = False

    @property
    def usable_tools(self) -> list[str]:
        """Return allowedTools with its default, in a fixed order."""
        return sorted(
            set(tools.DEFAULT_TOOLS if self.allowed_tools is None else self.allowed_tools)
        )


class JobTypeStatus(Part):
    """Written only by the operator."""

    observed_generation: int | None = None
    conditions: Conditions = Field(default_factory=list)


class CodexJobType(Part):
    """A kind of unattended Codex run: its prompt, model, limits and permissions."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                NAME_IS_A_LABEL,
                cel(
                    "self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
                    "metadata.name may contain only lowercase letters, digits and '-', because"
                    " runs use it in spec.jobType; choose another name",
                ),
            ]
        }
    )

    api_version: Literal["codexrun.dev/v1alpha1"] = "codexrun.dev/v1alpha1"
    kind: Literal["CodexJobType"] = "CodexJobType"
    metadata: ObjectMeta
    spec: JobTypeSpec
    status: JobTypeStatus = JobTypeStatus()
