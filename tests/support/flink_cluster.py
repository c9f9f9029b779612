"""A standalone Flink cluster on this machine: a JobManager and TaskManagers.

Each is a process of its own, as on hosts of their own, so that a test can kill one. This machine's
disk stands for the filesystem that the hosts of a real cluster share.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_JOB_MANAGER = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
_TASK_MANAGER = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
# What Flink's own start scripts open to it on Java 17.
_OPENS = [
    f"--add-{kind}={package}=ALL-UNNAMED"
    for kind, package in (
        ("exports", "java.base/sun.net.util"),
        ("exports", "java.rmi/sun.rmi.registry"),
        ("exports", "java.security.jgss/sun.security.krb5"),
        ("opens", "java.base/java.lang"),
        ("opens", "java.base/java.net"),
        ("opens", "java.base/java.io"),
        ("opens", "java.base/java.nio"),
        ("opens", "java.base/sun.nio.ch"),
        ("opens", "java.base/java.lang.reflect"),
        ("opens", "java.base/java.text"),
        ("opens", "java.base/java.time"),
        ("opens", "java.base/java.util"),
        ("opens", "java.base/java.util.concurrent"),
        ("opens", "java.base/java.util.concurrent.atomic"),
        ("opens", "java.base/java.util.concurrent.locks"),
    )
]
_SETTINGS = """\
jobmanager.rpc.address: 127.0.0.1
jobmanager.rpc.port: {rpc_port}
jobmanager.bind-host: 127.0.0.1
rest.address: 127.0.0.1
rest.bind-address: 127.0.0.1
rest.port: {rest_port}
taskmanager.host: 127.0.0.1
taskmanager.bind-host: 127.0.0.1
io.tmp.dirs: {folder}
# A slot more on each host than the job takes, so that one host can take over from the other;
# SLOTS spreads the job over both.
taskmanager.numberOfTaskSlots: 2
taskmanager.load-balance.mode: SLOTS
# Without a restart strategy Flink ends a batch job that loses a host.
restart-strategy.type: fixed-delay
restart-strategy.fixed-delay.attempts: 10
restart-strategy.fixed-delay.delay: 1 s
heartbeat.interval: 1000
heartbeat.timeout: 10000
taskmanager.cpu.cores: 2
taskmanager.memory.framework.heap.size: 64m
taskmanager.memory.framework.off-heap.size: 64m
taskmanager.memory.task.heap.size: 256m
taskmanager.memory.task.off-heap.size: 0m
taskmanager.memory.managed.size: 128m
taskmanager.memory.network.min: 192m
taskmanager.memory.network.max: 192m
taskmanager.memory.jvm-metaspace.size: 256m
taskmanager.memory.jvm-overhead.min: 192m
taskmanager.memory.jvm-overhead.max: 192m
"""
_LOGGING = """\
rootLogger.level = INFO
rootLogger.appenderRef.console.ref = Console
appender.console.name = Console
appender.console.type = CONSOLE
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{HH:mm:ss,SSS} %-5p %c{1} - %m%n
"""


class Cluster:
    """The processes of a cluster with its files below one folder; a context manager."""

    def __init__(self, flink: Path, folder: Path, task_managers: int = 2) -> None:
        """`flink` holds Flink's `lib/`; `folder` gets settings, logs and temporary files."""
        self._lib, self._folder = flink / "lib", folder
        rpc_port, rest_port = _free_ports(2)
        self.master = f"127.0.0.1:{rest_port}"
        self._settings = _SETTINGS.format(rpc_port=rpc_port, rest_port=rest_port, folder=folder)
        self._names = [f"taskmanager-{i}" for i in range(task_managers)]
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Cluster:
        self._folder.mkdir(parents=True)
        (self._folder / "config.yaml").write_text(self._settings)
        (self._folder / "log4j.properties").write_text(_LOGGING)
        try:
            self._start("jobmanager", _JOB_MANAGER)
            for name in self._names:
                self._start(name, _TASK_MANAGER, f"-Dtaskmanager.resource-id={name}")
            self.wait_for(self._is_ready, "the cluster to start")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the processes, and with each the workers that it started: they share a session."""
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def ask(self, path: str) -> Any:
        """Returns what the JobManager's REST API says."""
        with urllib.request.urlopen(f"http://{self.master}{path}", timeout=10) as response:
            return json.load(response)

    def busy_task_managers(self) -> set[str]:
        """Returns the names of the TaskManagers with a running task."""
        hosts = [host for _, host in self._subtasks("taskmanagers") if host["status-counts"]]
        return {host["taskmanager-id"] for host in hosts if host["status-counts"]["RUNNING"]}

    def restarts(self) -> int:
        """Returns how often the task that was restarted most was restarted."""
        return max(subtask["attempt"] for _, subtask in self._subtasks("subtasks"))

    def kill(self, name: str) -> None:
        """Ends a part at once (SIGKILL); workers that it started are not told."""
        self._processes[name].kill()
        self._processes[name].wait()

    def wait_for(self, condition: Callable[[], Any], what: str, seconds: float = 180.0) -> Any:
        """Returns the condition's first true value; raises TimeoutError naming the log folder."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                if value := condition():
                    return value
            time.sleep(0.1)
        raise TimeoutError(f"waited {seconds:.0f} s for {what}; logs are in {self._folder}")

    def _subtasks(self, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yields `kind` of all steps of all jobs, with the step's name."""
        for job in self.ask("/jobs")["jobs"]:
            for vertex in self.ask(f"/jobs/{job['id']}")["vertices"]:
                path = f"/jobs/{job['id']}/vertices/{vertex['id']}"
                answer = self.ask(path if kind == "subtasks" else f"{path}/{kind}")
                yield from ((vertex["name"], entry) for entry in answer[kind])

    def _is_ready(self) -> bool:
        for name, process in self._processes.items():
            if process.poll() is not None:
                raise RuntimeError(f"{name} ended; see {self._folder / name}.log")
        return self.ask("/overview")["taskmanagers"] == len(self._names)

    def _start(self, name: str, main: str, *arguments: str) -> None:
        logging = self._folder / "log4j.properties"
        command = ["java", "-Xmx512m", *_OPENS, f"-Dlog4j.configurationFile={logging}"]
        command += ["-cp", f"{self._lib}/*", main, "--configDir", str(self._folder), *arguments]
        with open(self._folder / f"{name}.log", "wb") as log:
            self._processes[name] = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                start_new_session=True,
            )


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
