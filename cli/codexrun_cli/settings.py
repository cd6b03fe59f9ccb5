"""Where the control plane is, and who the user is there: a flag beats the environment, the
environment the file."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from codexrun_cli.errors import CommandError, file_problem
from codexrun_cli.exit_codes import Code

KEYS = {
    "server": "URL of the REST API; without it, commands go directly to the cluster",
    "token": "the REST API's token",
    "context": "kubeconfig context, for commands that go directly to the cluster",
    "namespace": "namespace, for commands that go directly to the cluster",
    "color": "auto, always or never",
}
SECRET_KEYS = ("token",)


@dataclass(frozen=True)
class Flags:
    """Global options, as they were given; None: not given."""

    server: str | None = None
    kubeconfig: str | None = None
    context: str | None = None
    namespace: str | None = None
    all_namespaces: bool = False
    color: str | None = None
    utf8: bool = True
    plain: bool = False
    debug: bool = False

    @property
    def cluster(self) -> bool:
        """Return whether the command line names a cluster."""
        return any((self.kubeconfig, self.context, self.namespace, self.all_namespaces))


@dataclass(frozen=True)
class Settings:
    """What is in force, and where each value came from."""

    flags: Flags = Flags()
    server: str | None = None
    token: str | None = None
    context: str | None = None
    namespace: str | None = None
    color: str = "auto"
    sources: Mapping[str, str] = ()  # type: ignore[assignment]

    @property
    def rest(self) -> bool:
        return self.server is not None


def path(env: Mapping[str, str] = os.environ) -> Path:
    """Return where the configuration file is."""
    base = env.get("XDG_CONFIG_HOME") or str(Path(env.get("HOME", "~")).expanduser() / ".config")
    return Path(base) / "codexrun" / "config.yaml"


def read(file: Path) -> dict[str, str]:
    """Return the file's values; none where there is no file.

    Raises:
        CommandError: it is not readable, or has what it must not have.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(
            Code.FAILED, f"{file}: {file_problem(error)}", hint="correct or remove the file"
        ) from None
    import yaml

    try:
        values = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise CommandError(
            Code.FAILED, f"{file}: not valid YAML: {' '.join(str(error).split())}"
        ) from None
    if not isinstance(values, dict):
        raise CommandError(Code.FAILED, f"{file}: must contain settings as KEY: VALUE lines")
    if unknown := [key for key in values if key not in KEYS]:
        raise CommandError(
            Code.FAILED, f"{file}: {unknown[0]}: unknown setting; use {', '.join(KEYS)}"
        )
    return {key: str(value) for key, value in values.items() if value is not None}


def write(file: Path, values: Mapping[str, str]) -> None:
    """Write the file so that only its owner can read it: it holds a token."""
    import yaml

    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    text = yaml.safe_dump(dict(values), sort_keys=True)
    partial = file.with_name(f"{file.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write(text)
    partial.replace(file)


def settle(flags: Flags, env: Mapping[str, str], stored: Mapping[str, str]) -> Settings:
    """Return the values in force. Pure.

    Raises:
        CommandError: the flags contradict each other, or a value is none.
    """
    if flags.server and flags.cluster:
        raise CommandError(
            Code.USAGE,
            "--server selects the REST API; -n, -A, --context and --kubeconfig select the cluster;"
            " use one or the other",
        )
    chosen: dict[str, str] = {}
    sources: dict[str, str] = {}
    from_env = {"server": "CODEX_CONTROL_URL", "token": "CODEX_CONTROL_TOKEN"}
    for key in KEYS:
        for value, source in (
            (getattr(flags, key, None), "flag"),
            (env.get(from_env.get(key, ""), "").strip(), f"environment ({from_env.get(key)})"),
            (stored.get(key), "file"),
        ):
            if value:
                chosen[key] = value
                sources[key] = source
                break
    if sources.get("token") == "file" and chosen.get("server", "").rstrip("/") != str(
        stored.get("server", "")
    ).rstrip("/"):
        chosen.pop("token")  # a stored token is for the stored server alone
        sources.pop("token")
    if flags.cluster:  # a flag beats a URL from elsewhere
        for key in ("server", "token"):
            chosen.pop(key, None)
            sources.pop(key, None)
    return replace(_checked(chosen), flags=flags, sources=sources)


def _checked(chosen: Mapping[str, Any]) -> Settings:
    server = chosen.get("server")
    if server is not None and not server.startswith(("http://", "https://")):
        raise CommandError(
            Code.USAGE, f'"{server}" is not a valid URL of a REST API; write http://… or https://…'
        )
    if (color := chosen.get("color", "auto")) not in ("auto", "always", "never"):
        raise CommandError(Code.USAGE, f'color: "{color}" is not valid; use auto, always or never')
    return Settings(
        server=server.rstrip("/") if server else None,
        token=chosen.get("token"),
        context=chosen.get("context"),
        namespace=chosen.get("namespace"),
        color=color,
    )
