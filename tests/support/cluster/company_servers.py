"""A company's servers, run in a pod: a provider that takes tokens and no key, and a Git host with a
certificate of the company's own CA.

8000: POST /oauth/token exchanges the token of a ServiceAccount (RFC 8693) for one that is good for
one request, and prints what it was shown; behind such a token stands the demo model.
8443: git_server.py.
"""

import base64
import json
import threading
from collections.abc import Awaitable, Callable

import git_server
from aiohttp import web

from codexrun_demo_model.server import application

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Exchange:
    """Gives tokens; the last one opens the model, once."""

    def __init__(self) -> None:
        self.count = 0
        self.used = True

    async def exchange(self, request: web.Request) -> web.Response:
        fields = await request.json()
        payload = fields.pop("subject_token").split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        self.count += 1
        self.used = False
        print(json.dumps({"fields": fields, "claims": claims}), flush=True)
        return web.json_response({"access_token": self.token, "expires_in": 3600})

    @property
    def token(self) -> str:
        return f"short-lived-canary-{self.count}"

    @web.middleware
    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path == "/v1/responses":
            shown = request.headers.get("Authorization", "")
            if self.used or shown != f"Bearer {self.token}":
                error = {"code": "invalid_api_key", "message": f"{shown} is not known"}
                return web.json_response({"error": error}, status=401)
            self.used = True
        return await handler(request)


def main() -> None:
    threading.Thread(target=git_server.serve, args=(8443,), daemon=True).start()
    exchange = Exchange()
    app = application()
    app.middlewares.append(exchange.guard)
    app.router.add_post("/oauth/token", exchange.exchange)
    web.run_app(app, port=8000, print=None, access_log=None)


if __name__ == "__main__":
    main()
