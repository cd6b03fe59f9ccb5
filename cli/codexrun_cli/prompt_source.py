"""Prompts of the cluster, or of a folder that is proven first."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from codexrun_cli import context
from codexrun_cli.errors import CommandError, fail
from codexrun_cli.exit_codes import Code
from codexrun_cli.transports.schemas import Prompt

if TYPE_CHECKING:
    from codexrun_core.prompts.manifests import Folder


def load_folder(directory: Path) -> "Folder":
    """Return the folder's prompts and job types; end the command with all that is wrong."""
    from codexrun_core.prompts.index import FolderError
    from codexrun_core.prompts.manifests import load

    try:
        return load(directory)
    except FolderError as error:
        fail(*error.problems)


def list_prompts(ctx: typer.Context, folder: Path | None) -> list[Prompt]:
    """Return prompts as the api lists them; a folder's are proven, or not shown at all."""
    if folder is None:
        from codexrun_cli.transports.connection import opened

        with opened(context.flags(ctx)) as transport:
            return transport.prompts()
    contents = load_folder(folder)
    users: dict[str, list[str]] = {}
    users_of_version: dict[tuple[str, str], list[str]] = {}
    for manifest in contents.job_types:
        prompt, job = manifest["spec"]["prompt"], str(manifest["metadata"]["name"])
        users.setdefault(prompt["name"], []).append(job)
        users_of_version.setdefault((prompt["name"], prompt["version"]), []).append(job)
    return [
        {
            "name": name,
            "versions": [
                {
                    "version": version.version,
                    "sha256": version.sha256,
                    "checksum_ok": True,
                    "owner": version.owner,
                    "updated_at": version.updated_at,
                    "used_by": users_of_version.get((name, version.version), []),
                }
                for version in versions.values()
            ],
            "used_by": users.get(name, []),
        }
        for name, versions in sorted(contents.index.versions.items())
    ]


def read_text(ctx: typer.Context, prompt: str, folder: Path | None) -> tuple[str, str]:
    """Return `name@version` and its text; the newest version if none is named."""
    name, _, version = prompt.partition("@")
    if folder is not None:
        index = load_folder(folder).index
        newest = next(reversed([*index.versions.get(name, {})]), "v1")
        try:
            entry = index.find(name, version or newest)
        except LookupError as error:
            raise CommandError(Code.NOT_FOUND, str(error)) from None
        return f"{name}@{entry.version}", entry.text
    from codexrun_cli.transports.connection import opened

    with opened(context.flags(ctx)) as transport:
        if not version:
            listed = next((item for item in transport.prompts() if item["name"] == name), None)
            if listed is None:
                raise CommandError(
                    Code.NOT_FOUND,
                    f'there is no prompt "{name}"',
                    hint="`codexrun prompts list` shows the prompts that exist",
                )
            version = listed["versions"][-1]["version"]
        return f"{name}@{version}", transport.prompt_text(name, version)
