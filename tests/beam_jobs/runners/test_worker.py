"""What a worker that Flink or Spark starts is told."""

from __future__ import annotations

import json

from apache_beam.portability.api import beam_provision_api_pb2 as provision
from apache_beam.portability.api import endpoints_pb2
from google.protobuf import text_format

from beam_jobs.runners import worker


def test_a_worker_learns_of_its_runner_and_of_the_job():
    info = provision.ProvisionInfo(
        control_endpoint=endpoints_pb2.ApiServiceDescriptor(url="localhost:1234"),
        logging_endpoint=endpoints_pb2.ApiServiceDescriptor(url="localhost:5678"),
        runner_capabilities=["beam:a:v1", "beam:b:v1"],
    )
    info.pipeline_options.update({"beam:option:pickle_library:v1": "cloudpickle"})
    variables = worker.environment("7-1", info)
    assert variables["WORKER_ID"] == "7-1"
    assert variables["RUNNER_CAPABILITIES"] == "beam:a:v1 beam:b:v1"
    options = json.loads(variables["PIPELINE_OPTIONS"])
    assert options == {"beam:option:pickle_library:v1": "cloudpickle"}
    for name, url in (("CONTROL", "localhost:1234"), ("LOGGING", "localhost:5678")):
        text = variables[f"{name}_API_SERVICE_DESCRIPTOR"]
        assert text_format.Parse(text, endpoints_pb2.ApiServiceDescriptor()).url == url
