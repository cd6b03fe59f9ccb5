"""A token instead of a key: the gate exchanges the pod's ServiceAccount token for a short-lived one
of the provider (RFC 8693), and renews it.

https://developers.openai.com/api/reference/workload-identity-federation
https://openrouter.ai/docs/guides/overview/auth/workload-identity-federation
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import aiohttp

from codexrun_pod.gate import errors
from codexrun_pod.gate.content_coding import Body, UnreadableError
from codexrun_pod.gate.endpoint import Endpoint
from codexrun_pod.gate.policy.key_filter import KeyFilter
from codexrun_pod.gate.settings import Identity
from codexrun_pod.termination import LONGEST_MESSAGE

GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT = "urn:ietf:params:oauth:token-type:jwt"
EXCHANGE_SECONDS = 30.0
MAX_ANSWER_BYTES = 64 * 1024
# A token is renewed before a request that comes in the last RENEW_SECONDS of its life, or in the
# last RENEW_SHARE of it where that is shorter: some tokens live for a minute.
RENEW_SECONDS = 60.0
RENEW_SHARE = 0.25
DEFAULT_LIFE_SECONDS = 300.0  # of a token whose answer does not say; `expires_in` is not required
MAX_LIFE_SECONDS = 86400.0  # whatever the answer says
ADVICE = (
    "check the chart's model.identity, and which issuer, audience and subject the provider trusts"
)


class ExchangeError(Exception):
    """There is no token."""

    def __init__(self, error: errors.UpstreamError) -> None:
        """error: as it ends the run; no token is in it."""
        super().__init__(error.message)
        self.error = error


class TokenSource:
    """Gives the provider's token."""

    def __init__(self, identity: Identity, endpoint: Endpoint) -> None:
        """endpoint: its proxy and CAs hold for the exchange too."""
        self._identity = identity
        self._endpoint = endpoint
        self._token = ""
        self._renew_at = 0.0  # of time.monotonic

    def forget(self) -> None:
        """Exchange anew for the next request: the provider has refused this token."""
        self._renew_at = 0.0

    async def token(self, session: aiohttp.ClientSession) -> str:
        """Return a token that is good for another request.

        Raises:
            ExchangeError: the provider refuses the exchange, or cannot be reached.
        """
        if time.monotonic() < self._renew_at:
            return self._token
        try:
            subject = self._identity.token_file.read_text().strip()
        except OSError as error:
            raise ExchangeError(
                _error(f"the token file cannot be read: {error.strerror}")
            ) from error
        began = time.monotonic()
        answer = await self._exchange(session, subject)
        token = answer.get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise ExchangeError(_error("the response has no access_token", retryable=False))
        seconds = DEFAULT_LIFE_SECONDS
        life = answer.get("expires_in")
        if isinstance(life, int | float) and not isinstance(life, bool):
            seconds = float(min(life, MAX_LIFE_SECONDS))
        self._token = token
        self._renew_at = began + seconds - min(RENEW_SECONDS, seconds * RENEW_SHARE)
        return token

    async def _exchange(self, session: aiohttp.ClientSession, subject: str) -> Mapping[str, Any]:
        identity = self._identity
        fields = {
            **identity.parameters,
            "grant_type": GRANT,
            "subject_token_type": JWT,
            "subject_token": subject,
        }
        body: dict[str, Any] = {"json": fields} if identity.encoding == "json" else {"data": fields}
        no_secret = KeyFilter(subject)
        try:
            async with session.post(
                identity.token_url,
                **body,
                headers={"Accept": "application/json", "Accept-Encoding": "identity"},
                allow_redirects=False,
                auto_decompress=False,  # Body does
                proxy=self._endpoint.proxy,
                timeout=aiohttp.ClientTimeout(total=EXCHANGE_SECONDS),
            ) as answer:
                raw = no_secret.raw(await Body(answer).read(MAX_ANSWER_BYTES))
                headers = no_secret.headers(answer.headers)
        except (aiohttp.ClientError, TimeoutError) as error:
            reason = no_secret.text(str(error) or type(error).__name__)[:200]
            raise ExchangeError(
                _error(f"the request to the token endpoint failed: {reason}")
            ) from None
        except UnreadableError as error:
            problem = (
                "the response cannot be read, because it has the Content-Encoding"
                f" {no_secret.text(str(error))}"
            )
            raise ExchangeError(_error(problem, retryable=False)) from None
        try:
            parsed = json.loads(raw) if answer.status == 200 else None
        except (ValueError, RecursionError):
            parsed = None
        if isinstance(parsed, dict) and not parsed.get("error"):
            return parsed
        if answer.status == 200 and not isinstance(parsed, dict):
            # It is not quoted: half an answer may hold the token.
            raise ExchangeError(_error("the response is not a JSON object with an access_token"))
        read = errors.read(
            raw.decode("utf-8", "replace"),
            datetime.now(UTC),
            status=answer.status,
            headers=headers,
        )
        raise ExchangeError(_error(read.message, read))


def _error(
    message: str, read: errors.UpstreamError | None = None, *, retryable: bool = True
) -> errors.UpstreamError:
    """Build the error of an exchange. read: what the provider has said."""
    text = f"cannot exchange the ServiceAccount's token: {message}"
    if read is None:
        return errors.UpstreamError("model_error", text, retryable=retryable, advice=ADVICE)
    class_ = read.class_ if read.retryable else "auth"
    return replace(read, class_=class_, message=text[:LONGEST_MESSAGE], advice=ADVICE)
