"""Codex's start: prompt, config.toml, environment, command line.

Every key is known to each Codex that is pinned (tests/local/codex/test_codex_versions.py).
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Mapping  # noqa: UP035 - the runner's floor is Python 3.9

from codexrun_core.codex import tools
from codexrun_core.codex.policy import SANDBOX_MODES
from codexrun_core.prompts.rendering import render
from codexrun_pod.runner.codex import model_catalogue
from codexrun_pod.runner.settings import ConfigError, Settings

# By so much is Codex's own limit on a silent stream longer than stallSeconds, so that the runner's
# watch comes first: it asks the gate twice a second, and on a busy node later.
IDLE_MARGIN_SECONDS = 30

NO_PROXY_NAMES = ("NO_PROXY", "no_proxy")
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")

CONFIG = """\
model = {model}
model_provider = "gate"
{effort}approval_policy = "never"
sandbox_mode = {sandbox}
web_search = {web_search}
{catalogue}check_for_update_on_startup = false
suppress_unstable_features_warning = true
allow_login_shell = false
tool_output_token_limit = 10000
project_doc_max_bytes = {agents_md_bytes}

[features]
# On by default: a refused connection would be tried again for ever.
unbounded_connection_retries = false
# The gate reads each request.
enable_request_compression = false
# These reach for other hosts at start-up, or offer tools that a run cannot use.
plugins = false
apps = false
goals = false
image_generation = false
skill_search = false
tool_suggest = false
# The job type's allowedTools.
shell_tool = {shell}
view_image = {view_image}
hooks = true

[agents]
enabled = false

[analytics]
enabled = false

[feedback]
enabled = false

[otel]
exporter = "none"
trace_exporter = "none"
metrics_exporter = "none"

[shell_environment_policy]
# The agent's container holds no key of the model; what the job type's env brings is meant for its
# commands.
inherit = "all"
ignore_default_excludes = true
exclude = ["CODEXRUN_*"]

[skills]
include_instructions = false
bundled = {{ enabled = false }}

[model_providers.gate]
name = "gate"
base_url = "http://127.0.0.1:{port}/v1"
wire_api = "responses"
# The gate's one route is plain HTTP.
supports_websockets = false
# Codex would hang up on a slow model after five minutes and ask again: paid twice.
stream_idle_timeout_ms = {idle_milliseconds}
{mcp}"""


# What a tool uses below HOME by itself, for an image that names another folder.
CACHES = {
    "GOPATH": "go",
    "GOMODCACHE": "go/pkg/mod",
    "GOCACHE": ".cache/go-build",
    "CARGO_HOME": ".cargo",
    "npm_config_cache": ".npm",
    "NPM_CONFIG_CACHE": ".npm",
    "YARN_CACHE_FOLDER": ".cache/yarn",
    "PIP_CACHE_DIR": ".cache/pip",
    "UV_CACHE_DIR": ".cache/uv",
    "GRADLE_USER_HOME": ".gradle",
    "MAVEN_CONFIG": ".m2",
    "XDG_CACHE_HOME": ".cache",
}

# Nobody is there to answer: in a command with a terminal Git would wait for a login
# (https://github.com/openai/codex/issues/3520).
UNATTENDED = {"GIT_TERMINAL_PROMPT": "0"}

# Commits need an identity; the image's own, in the system's file, stands above this one.
GITCONFIG = """\
[safe]
\tdirectory = {workspace}
[user]
\tname = codexrun
\temail = codexrun@localhost
[include]
\tpath = /etc/gitconfig
"""


def rendered_prompt(settings: Settings) -> bytes:
    """Render the reviewed prompt with the run's inputs, as UTF-8.

    Raises:
        ConfigError: the prompt cannot be read, is not the version that the run names, or does not
            fit the inputs.
    """
    try:
        text = settings.prompt.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"the prompt at {settings.prompt} cannot be read: {error.strerror}"
        ) from error
    sha256 = hashlib.sha256(text).hexdigest()
    if sha256 != settings.prompt_sha256:
        raise ConfigError(
            f"the prompt mounted for version {settings.prompt_version} has sha256 {sha256}, but"
            f" the run expects {settings.prompt_sha256}; apply the prompt's ConfigMap again from"
            " the reviewed file"
        )
    try:
        return render(text.decode("utf-8"), settings.inputs).encode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"prompt version {settings.prompt_version} is not UTF-8: {error}"
        ) from error
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"an input contains half of a surrogate pair, which is not valid text: {error.reason}"
        ) from error
    except ValueError as error:
        raise ConfigError(str(error)) from error


def config_toml(settings: Settings) -> str:
    """Build the text of $CODEX_HOME/config.toml."""
    allowed = settings.allowed_tools
    catalogue = f"model_catalog_json = {_toml(str(model_catalogue.path(settings)))}\n"
    return CONFIG.format(
        model=_toml(settings.model),
        effort=f"model_reasoning_effort = {_toml(settings.effort)}\n" if settings.effort else "",
        sandbox=_toml(SANDBOX_MODES[settings.sandbox]),
        web_search=_toml("live" if tools.WEB_SEARCH in allowed else "disabled"),
        catalogue="" if tools.APPLY_PATCH in allowed else catalogue,
        shell=_toml(tools.SHELL in allowed),
        view_image=_toml(tools.VIEW_IMAGE in allowed),
        port=settings.gate_port,
        agents_md_bytes=settings.max_agents_md_bytes,
        idle_milliseconds=int((settings.stall + IDLE_MARGIN_SECONDS) * 1000),
        mcp="".join(
            _mcp_server(server, only, settings.timeout) for server, only in mcp_servers(settings)
        ),
    )


def mcp_servers(settings: Settings) -> list[tuple[Mapping[str, Any], list[str] | None]]:
    """Return the job type's servers of which some tool is allowed, with those tools, None for
    all."""
    usable = tools.mcp_servers(settings.allowed_tools)
    return [
        (server, usable[server["name"]])
        for server in settings.mcp_servers
        if server["name"] in usable
    ]


def _mcp_server(server: Mapping[str, Any], only: list[str] | None, timeout: float) -> str:
    """Build a server's table. It is required: a run without the server that it was given would do
    something else than its job type says. timeout: the run's, in seconds."""
    command = server.get("command") or []
    fields = {
        "command": command[0] if command else None,
        "args": command[1:] or None,
        "env_vars": server.get("env") or None,
        "url": server.get("url"),
        "bearer_token_env_var": server.get("bearerTokenEnv"),
        "startup_timeout_sec": server.get("startTimeoutSeconds"),
        # Codex would tell the model after 300 s that the call has failed.
        "tool_timeout_sec": server.get("callTimeoutSeconds") or int(timeout) + 1,
        "required": True,
        # Nobody is there to approve; what may be called is the job type's word.
        "default_tools_approval_mode": "approve",
        "enabled_tools": only,
    }
    lines = "".join(
        f"{key} = {_toml(value)}\n" for key, value in fields.items() if value is not None
    )
    return f"\n[mcp_servers.{server['name']}]\n{lines}"


def command(settings: Settings, thread: str | None = None) -> list[str]:
    """Return Codex's command line; the prompt comes by stdin. thread: the one to resume, by its id,
    never by `--last`."""
    resume = ["resume", thread] if thread else []
    schema = ["--output-schema", str(schema_path(settings))] if settings.output_schema else []
    return [str(settings.codex), "exec", *resume, "--json", "--skip-git-repo-check", *schema, "-"]


def schema_path(settings: Settings) -> Path:
    """Return the path of the job type's outputSchema, which Codex passes on to the model and does
    not hold the answer against."""
    return settings.codex_home / "output-schema.json"


def environment(environ: Mapping[str, str], settings: Settings) -> dict[str, str]:
    """Return the container's environment, without what was meant for the runner, and with caches
    that can be written: images of Go and Rust name folders of their read-only root. Whatever proxy
    it names, loopback is reached without one. Git asks nobody, unless it says otherwise."""
    variables = {name: value for name, value in environ.items() if not name.startswith("CODEXRUN_")}
    caches = {
        name: str(settings.home / folder)
        for name, folder in CACHES.items()
        if name in variables and not _is_writable(Path(variables[name]))
    }
    return {
        **UNATTENDED,
        **variables,
        **caches,
        **_no_proxy(variables),
        "CODEX_HOME": str(settings.codex_home),
        "HOME": str(settings.home),
    }


def _no_proxy(variables: Mapping[str, str]) -> dict[str, str]:
    """Return both variables with loopback added. Codex and Go read the first that is set, curl, git
    and Python the second. These take `*` for all hosts only if it stands alone, and Codex takes it
    for all names, but for no address."""
    hosts = [variables.get(name, "").strip() for name in NO_PROXY_NAMES]
    with_loopback = ",".join(dict.fromkeys(filter(None, (*hosts, *LOOPBACK_HOSTS))))
    upper, lower = NO_PROXY_NAMES
    return {upper: with_loopback, lower: "*" if "*" in hosts else with_loopback}


def _is_writable(path: Path) -> bool:
    """Return whether a folder can be written, or made where it is missing."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return os.access(str(path), os.W_OK)


def prepare(settings: Settings) -> None:
    """Make CODEX_HOME and what lies in it; let git trust the workspace, whose mount point root
    owns.

    Raises:
        ConfigError: a directory cannot be written, or the image lacks a part of Codex.
    """
    for part in (settings.codex, settings.codex.with_name("codex-code-mode-host")):
        if not part.is_file():
            raise ConfigError(
                f"the image has no {part}; rebuild the image with `make image BASE_IMAGE=...`"
            )
    try:
        settings.codex_home.mkdir(parents=True, exist_ok=True, mode=0o700)
        (settings.codex_home / "config.toml").write_text(config_toml(settings), encoding="utf-8")
        if tools.APPLY_PATCH not in settings.allowed_tools:
            model_catalogue.without_apply_patch(settings)
        if settings.output_schema:
            schema_path(settings).write_bytes(settings.output_schema)
        if not (settings.home / ".gitconfig").exists():
            text = GITCONFIG.format(workspace=_toml(str(settings.workspace)))
            (settings.home / ".gitconfig").write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{error.filename} cannot be written: {error.strerror}") from error


def _toml(value: str | bool | int | list[str]) -> str:
    """Write a TOML value: JSON's strings, lists and booleans are TOML's, but for DEL and for
    surrogate pairs, which ensure_ascii would make."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
