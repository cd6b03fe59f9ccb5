"""What /metrics of operator and api says after every metric has been touched: each in a process of
its own, as in the cluster.

`python expositions.py operator|api` prints it; `exposition(...)` runs that.
"""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from programs import environment

if TYPE_CHECKING:
    from codexrun_operator.__main__ import Operator


def exposition(component: str) -> str:
    """Return what the metrics port of `operator` or `api` answers."""
    command = [sys.executable, __file__, component]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def operator() -> str:
    from builders import (
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
    from fake_kube import FakeKube
    from prometheus_client import REGISTRY

    from codexrun_operator import metrics
    from codexrun_operator.__main__ import Operator
    from codexrun_operator.leader import Leases
    from codexrun_operator.settings import PodSettings, Settings
    from codexrun_operator.watch.keys import Key, Kind, run_key

    pods = PodSettings(control_image="c", agent_image="a", upstream_url="http://m/v1")
    settings = Settings(namespace="codexrun", pod_name="p", lease="l", log_level="INFO", pods=pods)
    kube = FakeKube()
    leases = Leases("l", "codexrun", "p", None)  # type: ignore[arg-type]
    it = Operator(settings, kube, leases, asyncio.Event())  # type: ignore[arg-type]
    REGISTRY.register(it.reconciler.run_metrics)
    state = it.reconciler.cache
    state.update_prompt(prompt_json())
    state.update_job_type(kube.put("codexjobtypes", kind_json()))
    await it.reconciler.reconcile(Key(Kind.JOB_TYPE, "hello"))
    state.update_run(kube.put("codexruns", run_json()))
    await it.reconciler.reconcile(run_key(UID))
    state.ledger.creations.clear()
    state.jobs[UID] = job()
    state.pods[UID] = pod("Running")
    await it.reconciler.reconcile(run_key(UID))
    state.jobs[UID] = done_job(complete=True)
    state.pods[UID] = pod(
        "Succeeded", agent=ended(report=agent_report(turns=1)), gate=ended(report=gate_report())
    )
    await it.reconciler.reconcile(run_key(UID))
    metrics.request_answered("list", "jobs", "200", 0.1)
    return await served(it)


async def served(operator: "Operator") -> str:
    """Return the exposition as Prometheus gets it, through the port."""
    import aiohttp
    from programs import free_port

    from codexrun_operator import health

    port = free_port()
    runner = await health.serve(port, {}, lambda: None, operator.refresh_gauges)
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/metrics") as answer,
    ):
        text = str(await answer.text())
    await runner.cleanup()
    return text


async def api() -> str:
    import tempfile

    from fake_cluster import FakeCluster
    from httpx import ASGITransport, AsyncClient
    from manifests import job_type, prompt

    from codexrun_api.app import create_app
    from codexrun_api.services import Services
    from codexrun_api.settings import Settings
    from codexrun_core.registry import Registry

    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/registry.db"
        settings = Settings(
            namespace="codexrun", registry_url=url, archive=Path(folder) / "archive", token="t"
        )
        kube = FakeCluster()
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
