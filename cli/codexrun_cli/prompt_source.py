"""Prompts of the cluster, or of a folder that is proven first."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from codexrun_cli import context
from codexrun_cli.errors import Trouble, fail
from codexrun_cli.exit_codes import Code

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


def list_prompts(ctx: typer.Context, folder: Path | None) -> list[dict[str, Any]]:
    """As the api lists them; a folder's are proven, or not shown at all."""
    if folder is None:
        from codexrun_cli.transports.connection import opened

        with opened(context.flags(ctx)) as transport:
            return transport.prompts()
    found = load_folder(folder)
    users: dict[str, list[str]] = {}
    for manifest in found.job_types:
        users.setdefault(manifest["spec"]["prompt"]["name"], []).append(
            str(manifest["metadata"]["name"])
        )
    return [
        {
            "name": name,
            "versions": [
                {
                    "version": v.version,
                    "sha256": v.sha256,
                    "checksum_ok": True,
                    "owner": v.owner,
                    "updated_at": v.updated_at,
                }
                for v in versions.values()
            ],
            "used_by": users.get(name, []),
        }
        for name, versions in sorted(found.index.versions.items())
    ]


def read_text(ctx: typer.Context, prompt: str, folder: Path | None) -> tuple[str, str]:
    """`name@version` and its text."""
    name, _, version = prompt.partition("@")
    if folder is not None:
        index = load_folder(folder).index
        try:
            found = index.find(
                name,
                version or [*index.versions.get(name, {}), "v1"][-1 - (name in index.versions)],
            )
        except LookupError as error:
            raise Trouble(Code.NOT_FOUND, str(error)) from None
        return f"{name}@{found.version}", found.text
    from codexrun_cli.transports.connection import opened

    with opened(context.flags(ctx)) as transport:
        if not version:
            known = next((one for one in transport.prompts() if one["name"] == name), None)
            if known is None:
                raise Trouble(
                    Code.NOT_FOUND,
                    f'there is no prompt "{name}"',
                    hint="`codexrun prompts list` shows what there is",
                )
            version = known["versions"][-1]["version"]
        return f"{name}@{version}", transport.prompt_text(name, version)
