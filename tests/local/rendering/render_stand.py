"""The whole application, console and REST, asked in this process for every page that it has."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from apistand import TOKEN, services_over
from fake_cluster import FakeCluster
from fastapi import FastAPI
from fastapi.routing import APIRoute
from jsonschema import Draft202012Validator
from manifests import prompt

from codexrun_api.app import create_app
from codexrun_api.archive.archive import Archive
from codexrun_api.console.pages.run import TABS
from codexrun_api.console.view.formats import visible
from codexrun_api.settings import Settings
from codexrun_core.registry import Registry

Json = dict[str, Any]

OPENAPI = json.loads((Path(__file__).parents[3] / "api/openapi.json").read_text())

# Routes that are not pages of an object; everything else is asked for.
LEFT_OUT = {
    "/events": "never ends; its data is that of /runs/{id}",
    "/console/live": "never ends, and says nothing but `refresh`",
    "/console/runs/{id}/live": "never ends, and says nothing but `refresh`",
    "/console/static/{name:path}": "files",
    "/console/{rest:path}": "answers 404",
    "/console/bulk/{number}": (
        "what came of a form; test_pages_that_forms_lead_to_are_rendered asks for it"
    ),
}
# What is asked of a route beside the plain page. Each tab, each part, each way to compare.
QUERIES: dict[str, Iterable[str]] = {
    "/console/runs": (
        "page_size=200",
        "part=rows",
        "sort=-cost",
        "sort=duration",
        "status=failed,running&search=a",
    ),
    "/console/runs/{id}": (
        *(f"tab={tab}" for tab in TABS),
        *(f"tab={tab}&part=run" for tab in TABS),
        "tab=log&q=a&raw=1",
    ),
    "/console/runs/{id}/log/lines": ("from=1&count=50", "raw=true"),
    "/console/runs/{id}/log/matches": ("q=a",),
    "/console/compare": ("", "a={id}&b={other}", "a={id}&b={other}&only=1"),
    "/console/cost": ("", "days=30"),
    "/console/prompts/{name}": ("", "version=v1&against=v2"),
    "/runs": ("page_size=500", "sort=-tokens&status=failed"),
    "/runs/{id}/logs": ("", "tail=3"),
    "/stats": ("", "status=failed"),
}
# A name is one of different things; each has a parameter of its own here.
NAMED = {
    "/artifacts/{name}": "/artifacts/{artifact}",
    "/prompts/{name}": "/prompts/{prompt}",
    "/jobtypes/{name}": "/jobtypes/{job_type}",
}
FIXED = {"artifact": "final-message.md", "prompt": "hello", "version": "v1"}


def parameters(path: str) -> str:
    """The route's path, each parameter in it saying what it is of."""
    for name, told in NAMED.items():
        path = path.replace(name, told)
    return path


def fields_of(text: str) -> set[str]:
    return set(re.findall(r"{(\w+)", text))


@dataclass
class Answers:
    """What was asked, and what was wrong with the answers."""

    asked: int = 0
    wrong: list[str] = field(default_factory=list)


class Stand:
    def __init__(
        self, kube: FakeCluster, registry: Registry, archive: Archive, app: FastAPI
    ) -> None:
        self.kube = kube
        self.registry = registry
        self.archive = archive
        self.app = app
        self.services = app.state.services
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app, raise_app_exceptions=False),
            base_url="http://api",
            headers={"Authorization": f"Bearer {TOKEN}"},
        )
        self.routes = sorted({route.path: route for route in routes(app)}.items())
        self.names = 0

    def put_run(self, body: Json, job_type: str | None = None) -> str:
        """Store it under a name of its own, of that job type; its id."""
        self.names += 1
        spec = {**body["spec"], **({"jobType": job_type} if job_type else {})}
        metadata = {**body.get("metadata", {}), "name": f"run-{self.names}"}
        return str(
            self.kube.put(self.kube.runs, {**body, "metadata": metadata, "spec": spec})["metadata"][
                "uid"
            ]
        )

    def put_job_type(self, body: Json) -> str:
        self.names += 1
        name = f"kind-{self.names}"
        self.kube.put(
            self.kube.job_types, {**body, "metadata": {**body.get("metadata", {}), "name": name}}
        )
        return name

    async def mirrored(self) -> None:
        """Until every change of the cluster is known, and has its row; a bound, not a measure."""
        services = self.services
        watchers = {
            self.kube.runs: services.mirror.watcher,
            self.kube.job_types: services.catalog.watchers[0],
            self.kube.config_maps: services.catalog.watchers[1],
        }
        newest = dict.fromkeys(watchers, 0)
        for number, path, _ in self.kube.log:
            newest[path.rpartition("/")[0]] = number
        async with asyncio.timeout(60):
            while services.mirror.writer.lag or any(
                int(w._version or 0) < newest[f] for f, w in watchers.items()
            ):
                assert not services.broken, services.broken
                await asyncio.sleep(0.005)

    def pages(self, *fields: str) -> list[tuple[APIRoute, str]]:
        """Every GET route that is about these, with its URL to be filled; without any, those about
        none."""
        found = []
        for path, route in self.routes:
            urls = [f"{parameters(path)}?{query}".rstrip("?") for query in QUERIES.get(path, ("",))]
            found += [
                (route, url)
                for url in urls
                if fields_of(url) - FIXED.keys() == set(fields) and path not in LEFT_OUT
            ]
        return found

    async def render(
        self, answers: Answers, pages: Iterable[tuple[APIRoute, str]], **filled: str
    ) -> None:
        for route, url in pages:
            answers.asked += 1
            self.check(answers, route, await self.http.get(url.format(**FIXED, **filled)))

    def check(self, answers: Answers, route: APIRoute, answer: httpx.Response) -> None:
        """No server error; a page shows everything that is in it; REST's bodies are what the
        document says."""
        where = (
            f"{answer.request.method} {answer.request.url.raw_path.decode()}: {answer.status_code}"
        )
        if (
            answer.status_code == 404
            and route.path == "/console/runs/{id}/rerun"
            and "job type" in answer.text
        ):
            return  # the form is made of the job type, which is gone
        if answer.status_code not in (200, 303):
            text = re.sub(r"<[^>]*>|\s+", " ", answer.text)
            answers.wrong.append(f"{where} {text[-200:]}")
        elif answer.headers.get("content-type", "").startswith("text/html"):
            hidden = visible(answer.text) != answer.text
            answers.wrong += [f"{where} has hidden characters"] if hidden else []
        elif answer.headers.get("content-type") == "application/json" and route.include_in_schema:
            document = OPENAPI["paths"][route.path]["get"]["responses"]["200"]["content"][
                "application/json"
            ]["schema"]
            schema = {**document, "components": OPENAPI["components"]}
            error = next(Draft202012Validator(schema).iter_errors(answer.json()), None)
            answers.wrong += [f"{where} {list(error.path)}: {error.message[:200]}"] if error else []


def routes(of: Any) -> Iterator[APIRoute]:
    """Every GET route, those of included routers too."""
    for route in of.routes:
        if isinstance(route, APIRoute):
            if "GET" in route.methods:
                yield route
        elif included := getattr(route, "original_router", None):
            yield from routes(included)


@contextlib.asynccontextmanager
async def standing(folder: Path) -> AsyncIterator[Stand]:
    """Logged in; with two versions of one prompt, and no job type and no run."""
    settings = Settings(
        namespace="codexrun",
        registry_url=f"sqlite:///{folder}/registry.db",
        archive=folder / "archive",
        token=TOKEN,
        verdict_seconds=5,
    )
    kube = FakeCluster()
    kube.put(kube.config_maps, prompt())
    kube.put(kube.config_maps, prompt(version="v2", text="{{name}}, {{odd}} and {{missing}}\n"))
    async with services_over(settings, kube) as services:
        app = create_app(services)
        made = Stand(kube, services.registry, services.archive, app)
        async with app.router.lifespan_context(app), made.http:
            answer = await made.http.post("/console/login", data={"token": TOKEN})
            assert answer.status_code == 303, answer.text
            await made.mirrored()
            yield made
