"""The operator as a process of its own, which can be killed and come back."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from httpapiserver import kubeconfig
from programs import environment

Json = dict[str, Any]
STOP_SECONDS = 20

# Its own `main`, on any free port: another operator may have the usual one on this machine. The
# argument is JSON: constants of modules that this process has otherwise, for periods that a test
# would wait for.
MAIN = """
import dataclasses, importlib, json, sys
from codexrun_operator import __main__ as operator
for name, value in json.loads(sys.argv[1]).items():
    module, _, constant = name.rpartition(".")
    assert hasattr(importlib.import_module(module), constant), name
    setattr(importlib.import_module(module), constant, value)
settings_from = operator.settings_from
operator.settings_from = lambda: dataclasses.replace(settings_from(), port=0)
sys.exit(operator.main())
"""
SETTINGS = {
    "CODEXRUN_NAMESPACE": "codexrun",
    "CODEXRUN_POD_NAME": "operator-0",
    "CODEXRUN_CONTROL_IMAGE": "control",
    "CODEXRUN_AGENT_IMAGE": "agent",
    "CODEXRUN_UPSTREAM_URL": "http://model/v1",
}


class OperatorProcess:
    """`server` is the apiserver's address, `folder` keeps its log. It has the same name each time,
    so that the next one has the lease at once.

    settings: variables of its environment; constants: `module.NAME` to value.
    """

    def __init__(
        self,
        server: str,
        folder: Path,
        *,
        token: str = "t",
        settings: dict[str, str] | None = None,
        constants: Json | None = None,
    ) -> None:
        self.log = folder / "operator.log"
        self.starts = 0
        self._kubeconfig = folder / "operator.kubeconfig"
        self._kubeconfig.write_text(kubeconfig(server, token))
        self._settings = {**SETTINGS, **(settings or {})}
        self._constants = json.dumps(constants or {})
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self.starts += 1
        env = environment(KUBECONFIG=str(self._kubeconfig), **self._settings)
        with self.log.open("ab") as stderr:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", MAIN, self._constants, env=env, stderr=stderr
            )

    async def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def ended(self) -> int:
        """Wait until it has ended by itself; return its exit code."""
        assert self._process is not None
        return await self._process.wait()

    async def stop(self) -> None:
        """End it as a pod's end does."""
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
        except TimeoutError:
            await self.kill()

    async def keep_running(self) -> None:
        """Start it again whenever it has ended, as the kubelet does, until cancelled."""
        while True:
            await self.start()
            await self.ended()
