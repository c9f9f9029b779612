"""`imcap-worker`: one Beam worker process on a host of a Flink or Spark cluster.

A runner starts it for `--environment_type=PROCESS`. It does what the `boot` program of Beam's
containers does, which no Python package contains: it asks the runner for the job's options and
starts Beam's worker. The job gets the packages of the environment that it is installed in.
"""

from __future__ import annotations

import argparse
import os
import sys

import grpc
from apache_beam.portability.api import beam_provision_api_pb2 as provision
from apache_beam.portability.api import beam_provision_api_pb2_grpc
from google.protobuf import json_format, text_format

from imcap import runtime

_TIMEOUT_SECONDS = 60.0


def main() -> None:
    """The console script, called with the flags of Beam's container contract."""
    parser = argparse.ArgumentParser("imcap-worker", description="Started by Beam's runners.")
    parser.add_argument("--id", required=True, help="The worker's name.")
    parser.add_argument("--provision_endpoint", required=True, help="Where to ask for the rest.")
    arguments, _ = parser.parse_known_args()
    info = _provision_info(arguments.id, arguments.provision_endpoint)
    os.environ.update(environment(arguments.id, info))
    runtime.assume_frozen_weights()
    # This module reads WORKER_ID while it is imported.
    from apache_beam.runners.worker import sdk_worker_main

    sdk_worker_main.main(sys.argv)


def _provision_info(worker_id: str, endpoint: str) -> provision.ProvisionInfo:
    with grpc.insecure_channel(endpoint) as channel:
        service = beam_provision_api_pb2_grpc.ProvisionServiceStub(channel)
        response = service.GetProvisionInfo(
            provision.GetProvisionInfoRequest(),
            metadata=[("worker_id", worker_id)],
            timeout=_TIMEOUT_SECONDS,
            wait_for_ready=True,
        )
    return response.info


def environment(worker_id: str, info: provision.ProvisionInfo) -> dict[str, str]:
    """Returns the environment variables that tell Beam's worker of its runner and of the job."""
    return {
        "WORKER_ID": worker_id,
        "PIPELINE_OPTIONS": json_format.MessageToJson(info.pipeline_options),
        "RUNNER_CAPABILITIES": " ".join(info.runner_capabilities),
        "LOGGING_API_SERVICE_DESCRIPTOR": text_format.MessageToString(info.logging_endpoint),
        "CONTROL_API_SERVICE_DESCRIPTOR": text_format.MessageToString(info.control_endpoint),
    }
