"""What /metrics of operator and api says after every metric has been touched: each in a process of
its own, as in the cluster.

`python expositions.py operator|api` prints it; `exposition(...)` runs that.
"""

import asyncio
import subprocess
import sys
from pathlib import Path

from programs import environment


def exposition(component: str) -> str:
    """Of `operator` or `api`."""
    command = [sys.executable, __file__, component]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def operator() -> str:
    import aiohttp
    from fakekube import FakeKube
    from prometheus_client import REGISTRY
    from runbuilders import (
        UID,
        agent_report,
        done_job,
        ended,
        gate_report,
        job,
        kind_json,
        pod,
        prompt_json,
        run_json,
    )

    from codexrun_operator import health, metrics
    from codexrun_operator.__main__ import Operator
    from codexrun_operator.leader import FencedLease
    from codexrun_operator.settings import PodSettings, Settings

    pods = PodSettings(control_image="c", agent_image="a", upstream_url="http://m/v1")
    settings = Settings(namespace="codexrun", pod_name="p", lease="l", log_level="INFO", pods=pods)
    kube = FakeKube()
    it = Operator(settings, kube, FencedLease("l", "codexrun", "p", None), asyncio.Event())  # type: ignore[arg-type]
    REGISTRY.register(it.reconciler.counters)
    state = it.reconciler.state
    state.prompt_seen(prompt_json())
    state.job_type_seen(kube.put("codexjobtypes", kind_json()))
    await it.reconciler.reconcile("jobtype/hello")
    state.run_seen(kube.put("codexruns", run_json()))
    await it.reconciler.reconcile(UID)
    state.creating.clear()
    state.jobs[UID], state.pods[UID] = job(), pod("Running")
    await it.reconciler.reconcile(UID)
    state.jobs[UID] = done_job(complete=True)
    state.pods[UID] = pod(
        "Succeeded", agent=ended(report=agent_report(turns=1)), gate=ended(report=gate_report())
    )
    await it.reconciler.reconcile(UID)
    metrics.request_answered("list", "jobs", "200", 0.1)
    return await served(health.serve, it, aiohttp)


async def served(serve, it, aiohttp) -> str:  # type: ignore[no-untyped-def]
    """Through the port, as Prometheus gets it."""
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    runner = await serve(port, {}, lambda: None, it.refresh_gauges)
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/metrics") as answer,
    ):
        text = await answer.text()
    await runner.cleanup()
    return text


async def api() -> str:
    import tempfile

    from apistand import job_type, prompt
    from fake_kube import FakeKube
    from httpx import ASGITransport, AsyncClient

    from codexrun_api.app import create_app
    from codexrun_api.services import Services
    from codexrun_api.settings import Settings
    from codexrun_core.registry import Registry

    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/registry.db"
        settings = Settings(
            namespace="codexrun", registry_url=url, archive=Path(folder) / "archive", token="t"
        )
        kube = FakeKube()
        kube.put(kube.job_types, job_type())
        kube.put(kube.config_maps, prompt())
        async with await Registry.open(url) as registry:
            await registry.migrate()
            app = create_app(Services.make(settings, registry, kube))
            async with (
                app.router.lifespan_context(app),
                AsyncClient(transport=ASGITransport(app), base_url="http://api") as http,
            ):
                await http.get("/runs", headers={"Authorization": "Bearer t"})
                return (await http.get("/metrics")).text


if __name__ == "__main__":
    sys.stdout.write(asyncio.run({"operator": operator, "api": api}[sys.argv[1]]()))
