"""`imcap-worker`: one Beam worker process on a host of a Flink or Spark cluster.

A runner starts it for `--environment_type=PROCESS`. It does what the `boot` program of Beam's
containers does, which no Python package holds: it asks the runner for the job's options and
starts Beam's worker. The packages of the environment that it lies in are those that the job gets.
"""

from __future__ import annotations

import argparse
import os
import sys

import grpc
from apache_beam.portability.api import beam_provision_api_pb2 as provision
from apache_beam.portability.api import beam_provision_api_pb2_grpc, endpoints_pb2
from google.protobuf import json_format, text_format

_TIMEOUT_SECONDS = 60.0


def main() -> None:
    """The console script, called with the flags of Beam's container contract."""
    arguments = _parse(sys.argv[1:])
    os.environ.update(environment(arguments, _provision_info(arguments)))
    # This module reads WORKER_ID while it is imported.
    from apache_beam.runners.worker import sdk_worker_main

    sdk_worker_main.main(sys.argv)


def _parse(flags: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("imcap-worker", description="Started by Beam's runners.")
    for name in ("id", "provision_endpoint", "logging_endpoint", "control_endpoint"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--artifact_endpoint", help="Unused: the packages are there already.")
    return parser.parse_args(flags)


def _provision_info(arguments: argparse.Namespace) -> provision.ProvisionInfo:
    with grpc.insecure_channel(arguments.provision_endpoint) as channel:
        service = beam_provision_api_pb2_grpc.ProvisionServiceStub(channel)
        response = service.GetProvisionInfo(
            provision.GetProvisionInfoRequest(),
            metadata=[("worker_id", arguments.id)],
            timeout=_TIMEOUT_SECONDS,
            wait_for_ready=True,
        )
    return response.info


def environment(arguments: argparse.Namespace, info: provision.ProvisionInfo) -> dict[str, str]:
    """Returns the variables from which Beam's worker learns of its runner and of the job."""
    return {
        "WORKER_ID": arguments.id,
        "PIPELINE_OPTIONS": json_format.MessageToJson(info.pipeline_options),
        "RUNNER_CAPABILITIES": " ".join(info.runner_capabilities),
        "LOGGING_API_SERVICE_DESCRIPTOR": _descriptor(arguments.logging_endpoint),
        "CONTROL_API_SERVICE_DESCRIPTOR": _descriptor(arguments.control_endpoint),
    }


def _descriptor(url: str) -> str:
    return text_format.MessageToString(endpoints_pb2.ApiServiceDescriptor(url=url))
