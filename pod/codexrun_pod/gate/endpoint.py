"""The model's endpoint, and how companies reach it: a header of their own for the key, a query, a
private CA, a proxy."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

BEARER = "Authorization"
# They look an id of reasoning up among what they have stored, and a run stores nothing:
# https://github.com/openai/codex/issues/35739
LOOKS_UP_IDS = (".openai.azure.com", ".cognitiveservices.azure.com")


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """The model's endpoint.

    upstream: URL that ends where Codex's base_url would (".../v1").

    auth_header: the header that carries the key, as a bearer token in Authorization, bare in any
    other. ca_file: PEM, used instead of the system's CAs. proxy: http:// URL of a proxy.
    drop_reasoning_ids: for other hosts than Azure's too.
    """

    upstream: str
    auth_header: str = BEARER
    query: Mapping[str, str] = field(default_factory=dict)
    ca_file: Path | None = None
    proxy: str | None = None
    drop_reasoning_ids: bool = False

    @classmethod
    def from_json(cls, config: Mapping[str, Any], ca_file: Path) -> Endpoint:
        """Read the operator's configuration.

        Raises:
            KeyError: upstreamURL is missing.
        """
        return cls(
            upstream=str(config["upstreamURL"]).rstrip("/"),
            auth_header=config.get("authHeader") or BEARER,
            query={
                str(name): str(value) for name, value in (config.get("queryParams") or {}).items()
            },
            ca_file=ca_file if config.get("caBundle") else None,
            proxy=config.get("proxy") or None,
            drop_reasoning_ids=bool(config.get("dropReasoningIds")),
        )

    @property
    def responses(self) -> str:
        """Return the URL that a request goes to."""
        query = f"?{urlencode(self.query)}" if self.query else ""
        return f"{self.upstream}/responses{query}"

    @property
    def host(self) -> str:
        """Return the host, for messages."""
        return urlsplit(self.upstream).netloc

    @property
    def takes_reasoning_ids(self) -> bool:
        """Return whether an item of reasoning may keep its id."""
        host = (urlsplit(self.upstream).hostname or "").lower()
        return not (self.drop_reasoning_ids or host.endswith(LOOKS_UP_IDS))

    def credentials(self, key: str | None) -> dict[str, str]:
        """Return the header with the key; none without one."""
        if not key:
            return {}
        return {
            self.auth_header: f"Bearer {key}" if self.auth_header.lower() == BEARER.lower() else key
        }

    def tls(self) -> ssl.SSLContext:
        """Return the TLS context for aiohttp.

        Python 3.13 refuses CAs that OpenSSL and Codex take, such as those whose basic constraints
        are not marked critical: https://github.com/python/cpython/issues/138193

        Raises:
            OSError, ssl.SSLError: the bundle cannot be read.
        """
        context = ssl.create_default_context(cafile=self.ca_file)
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context
