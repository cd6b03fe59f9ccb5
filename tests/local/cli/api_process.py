"""`python api_process.py PORT ROOT`: the real api in a process of its own, over an apiserver in
memory with ROOT/run.json.

Kill it as you like; the next one finds the same registry, archive and run. The run ends once
ROOT/ended is there.
"""

import asyncio
import json
import signal
import sys
from pathlib import Path

import uvicorn
from apistand import TOKEN
from fake_cluster import FakeCluster
from manifests import job_type, prompt

from codexrun_api.app import create_app
from codexrun_api.services import Services
from codexrun_api.settings import Settings
from codexrun_core.registry import Registry


async def main(port: int, root: Path) -> None:
    kube = FakeCluster()
    kube.put(kube.job_types, job_type())
    kube.put(kube.config_maps, prompt())
    run = json.loads((root / "run.json").read_text())
    kube.add(f"{kube.runs}/{run['metadata']['name']}", run)
    url = f"sqlite:///{root}/registry.db"
    settings = Settings(
        namespace="codexrun", registry_url=url, archive=root / "archive", token=TOKEN
    )
    registry = await Registry.open(settings.registry_url)
    await registry.migrate()
    services = Services.make(settings, registry, kube)
    services.archive.open()
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(services), port=port, log_config=None, timeout_graceful_shutdown=1
        )
    )

    def stop() -> None:
        services.stop.set()
        server.should_exit = True

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, stop)
    serving = asyncio.create_task(server.serve())
    while not serving.done():
        await asyncio.sleep(0.05)
        # lines come from another process, which rings nothing
        services.notifier.notify(run["metadata"]["uid"])
        if (root / "ended").exists() and kube.run(run["metadata"]["name"])["status"][
            "phase"
        ] == "Running":
            times = {"startedAt": "2026-01-31T12:00:00Z", "finishedAt": "2026-01-31T12:00:30Z"}
            kube.status(
                run["metadata"]["name"],
                "Succeeded",
                reason="Succeeded",
                result={"message": "Done."},
                **times,
            )
    await registry.close()


asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2])))
