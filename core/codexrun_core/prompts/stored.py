"""A prompt version as the cluster has it: what operator and api read from its ConfigMap, proven the
same way."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from codexrun_core.runs.annotations import PROMPT_OWNER, PROMPT_SHA256, PROMPT_UPDATED_AT
from codexrun_core.runs.label_keys import PROMPT_LABEL, PROMPT_VERSION_LABEL

TEXT_KEY = "prompt.md"  # of the ConfigMap's data


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
        """Read the ConfigMap as the apiserver sent it."""
        labels = raw["metadata"].get("labels") or {}
        annotations = raw["metadata"].get("annotations") or {}
        text = (raw.get("data") or {}).get(TEXT_KEY, "")
        return cls(
            name=labels.get(PROMPT_LABEL, ""),
            version=labels.get(PROMPT_VERSION_LABEL, ""),
            text=text,
            sha256=hashlib.sha256(text.encode()).hexdigest(),
            declared_sha256=annotations.get(PROMPT_SHA256, ""),
            owner=annotations.get(PROMPT_OWNER, ""),
            updated_at=annotations.get(PROMPT_UPDATED_AT, ""),
        )

    @property
    def checksum_ok(self) -> bool:
        """Return whether text and annotation agree."""
        return self.declared_sha256 == self.sha256

    @property
    def number(self) -> int:
        """Return the version as a number, for sorting: v10 comes after v9."""
        digits = self.version[1:]
        return int(digits) if digits.isdecimal() else 0
