"""Beam's options for a job on Apache Flink: filled in from the cluster, and checked before it runs.

A cluster's hosts have to see the data set, the workdir and this Python environment at the same
paths as the launching host does, as they do on a shared filesystem.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import sys
import urllib.request
from collections.abc import Sequence
from typing import Any

from absl import logging
from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    JobServerOptions,
    PipelineOptions,
    PortableOptions,
    StandardOptions,
)
from apache_beam.runners.portability import flink_runner
from apache_beam.version import __version__ as beam_version

from imcap.errors import UserError

_NAMES = ("flink", "flinkrunner")
_TIMEOUT_SECONDS = 10.0
# Only the cluster's settings can ask for restarts of a batch job: Beam's option is for streaming
# jobs.
_RESTARTS = {"restart-strategy.type", "restart-strategy"}
_NO_RESTARTS = (
    "this Flink cluster ends a job that loses a host; the same command then continues. With "
    "restart-strategy.type: fixed-delay in Flink's config.yaml the job continues by itself"
)


def complete_options(beam_args: Sequence[str]) -> list[str]:
    """Returns Beam's options with what Flink needs besides; those of other runners as they are.

    `--runner=flink --flink_master=HOST:PORT` is enough: the parallelism is the number of slots,
    the job server that of the cluster's version, and every host starts its worker as
    `imcap-worker` of this Python environment. Options that are given stay as given.

    Raises:
      UserError: no Java, no job server, no cluster, or a cluster that Beam cannot use.
    """
    args = list(beam_args)
    options = PipelineOptions(args)
    if not _is_flink(options):
        return args
    args.append("--runner=FlinkRunner")
    if master := cluster_address(options):
        defaults = _cluster_options(master) | _environment(options)
        args += [f"--{key}={value}" for key, value in defaults.items() if not _has(args, key)]
    return args + _job_server(PipelineOptions(args))


def cluster_address(options: PipelineOptions) -> str | None:
    """Returns HOST:PORT of the cluster that a job runs on; None if it does not run on one."""
    master = options.view_as(FlinkRunnerOptions).flink_master
    return master if _is_flink(options) and master not in flink_runner.MAGIC_HOST_NAMES else None


def _is_flink(options: PipelineOptions) -> bool:
    return (options.view_as(StandardOptions).runner or "").lower() in _NAMES


def _has(args: Sequence[str], key: str) -> bool:
    return any(arg.partition("=")[0] == f"--{key}" for arg in args)


def _cluster_options(master: str) -> dict[str, Any]:
    """Asks the JobManager for what depends on its cluster."""
    release, slots, settings = _ask(master)
    version = ".".join(release.split(".")[:2])
    known = FlinkRunnerOptions.PUBLISHED_FLINK_VERSIONS
    if version not in known:
        raise UserError(
            f"--flink_master={master} is a Flink {version} cluster; Beam {beam_version} runs on "
            f"Flink {', '.join(known)}"
        )
    if not slots:
        raise UserError(f"--flink_master={master} has no task slot: start a TaskManager")
    if not settings & _RESTARTS:
        logging.warning(_NO_RESTARTS)
    return {"flink_version": version, "parallelism": slots}


def _ask(master: str) -> tuple[str, int, set[str]]:
    """Returns a cluster's Flink version, its slots, and the keys of its settings."""
    url = flink_runner.FlinkRunner.add_http_scheme(master).rstrip("/")
    try:
        overview, settings = _get(f"{url}/overview"), _get(f"{url}/jobmanager/config")
        keys = {setting["key"] for setting in settings}
        return str(overview["flink-version"]), int(overview["slots-total"]), keys
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as error:
        raise UserError(
            f"--flink_master={master}: no Flink JobManager answers there "
            f"({getattr(error, 'reason', error)}); it must be the address of its REST API, such "
            "as HOST:8081"
        ) from error


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response:
        return json.load(response)


def _environment(options: PipelineOptions) -> dict[str, str]:
    if options.view_as(PortableOptions).environment_type:
        return {}
    worker = os.path.join(os.path.dirname(sys.executable), "imcap-worker")
    if not os.path.exists(worker):
        raise UserError(
            f"{worker} is missing: install imcap into this environment (make setup), or choose "
            "other workers with --environment_type"
        )
    return {"environment_type": "PROCESS", "environment_config": json.dumps({"command": worker})}


def _job_server(options: PipelineOptions) -> list[str]:
    """Finds Java and the jar of Beam's job server, which Beam fetches if it has none."""
    if options.view_as(PortableOptions).job_endpoint:
        return []
    java = options.view_as(JobServerOptions).job_server_java_launcher
    if not shutil.which(java):
        raise UserError(
            f"Beam's job server for Flink runs on Java, and there is no {java}: install Java 17, "
            "or name one with --job_server_java_launcher=FILE"
        )
    flink = options.view_as(FlinkRunnerOptions)
    if flink.flink_job_server_jar:
        _check_jar(flink.flink_job_server_jar)
        return []
    server = flink_runner.FlinkJarJobServer(options)
    cache = options.view_as(JobServerOptions).jar_cache_dir
    try:
        return [f"--flink_job_server_jar={server.local_jar(server.path_to_jar(), cache)}"]
    except (RuntimeError, OSError) as error:
        raise UserError(
            f"Beam's job server for Flink {flink.flink_version} cannot be fetched: get "
            f"org.apache.beam:beam-runners-flink-{flink.flink_version}-job-server:{beam_version} "
            "from Maven Central and name it with --flink_job_server_jar=FILE"
        ) from error


def _check_jar(jar: str) -> None:
    if "://" not in jar and not os.path.isfile(jar):
        raise UserError(f"--flink_job_server_jar={jar}: no such file")
