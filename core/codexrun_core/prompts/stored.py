"""A prompt version as the cluster has it: what operator and api read from its ConfigMap, proven the
same way."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

LABEL, VERSION_LABEL = "codexrun.dev/prompt", "codexrun.dev/prompt-version"
SHA256, OWNER, UPDATED_AT = "codexrun.dev/sha256", "codexrun.dev/owner", "codexrun.dev/updated-at"
TEXT = "prompt.md"  # the ConfigMap's key


@dataclass(frozen=True, kw_only=True)
class StoredPrompt:
    """sha256: of the text as stored; declared_sha256: what its annotation says."""

    name: str
    version: str
    text: str
    sha256: str
    declared_sha256: str = ""
    owner: str = ""
    updated_at: str = ""

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> Self:
        """From the ConfigMap as the apiserver sent it."""
        labels, notes = (raw["metadata"].get(part) or {} for part in ("labels", "annotations"))
        text = (raw.get("data") or {}).get(TEXT, "")
        return cls(
            name=labels.get(LABEL, ""),
            version=labels.get(VERSION_LABEL, ""),
            text=text,
            sha256=hashlib.sha256(text.encode()).hexdigest(),
            declared_sha256=notes.get(SHA256, ""),
            owner=notes.get(OWNER, ""),
            updated_at=notes.get(UPDATED_AT, ""),
        )

    @property
    def checksum_ok(self) -> bool:
        """Whether text and annotation agree."""
        return self.declared_sha256 == self.sha256

    @property
    def number(self) -> int:
        """For sorting: v10 comes after v9."""
        digits = self.version[1:]
        return int(digits) if digits.isdecimal() else 0
