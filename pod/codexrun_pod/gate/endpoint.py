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


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """The model's endpoint.

    upstream: URL that ends where Codex's base_url would (".../v1").

    auth_header: the header that carries the key, as a bearer token in Authorization, bare in any
    other. ca_file: PEM, used instead of the system's CAs. proxy: http:// URL of a proxy.
    """

    upstream: str
    auth_header: str = BEARER
    query: Mapping[str, str] = field(default_factory=dict)
    ca_file: Path | None = None
    proxy: str | None = None

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

    def credentials(self, key: str | None) -> dict[str, str]:
        """Return the header with the key; none without one."""
        if not key:
            return {}
        return {
            self.auth_header: f"Bearer {key}" if self.auth_header.lower() == BEARER.lower() else key
        }

    def tls(self) -> ssl.SSLContext | bool:
        """Return the TLS context for aiohttp; True for the system's CAs.

        Raises:
            OSError, ssl.SSLError: the bundle cannot be read.
        """
        return (
            True if self.ca_file is None else ssl.create_default_context(cafile=str(self.ca_file))
        )
