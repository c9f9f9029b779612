"""`imcap bench serve`: the REST server under load beside the SavedModel called without a server.

wrk sends the requests from a core of its own; the server and the SavedModel have the others.
https://github.com/wg/wrk
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence

from imcap.benchmarks import common
from imcap.errors import UserError
from imcap.serving import caption_files

CLIENTS = (1, 8, 32)
_RATE_AT_LEAST = 0.9  # Of 32 clients, against the best batches of the bare SavedModel.
_LATENCY_AT_MOST = 1.15  # The median of one client, against a call of the bare SavedModel.
_MAX_IMAGES = 64  # Of which the requests take turns.
_READY_SECONDS = 300
_WARM_UP_SECONDS = 3
# Of load for each number of clients: a batch of 32, unfinished in the end, is 3 % of it.
_SECONDS = 60
_NAME = "bench"
# Sends the files that it is given, in turns; in the end it prints figures as JSON.
_LUA = """
local requests, index = {}, 0
function init(args)
  wrk.headers["Content-Type"] = "application/json"
  for _, path in ipairs(args) do
    local file = io.open(path, "rb")
    requests[#requests + 1] = wrk.format("POST", nil, nil, file:read("*a"))
    file:close()
  end
end
function request()
  index = index % #requests + 1
  return requests[index]
end
function done(summary, latency, _)
  local e = summary.errors
  print(string.format(
    '\\n{"seconds": %f, "requests": %d, "errors": %d, "p50_ms": %f, "p95_ms": %f, "p99_ms": %f}',
    summary.duration / 1e6, summary.requests, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50) / 1e3, latency:percentile(95) / 1e3, latency:percentile(99) / 1e3))
end
"""


def benchmark_serving(model_dir: str, image_dir: str, repeats: int) -> list[common.Row]:
    """Measures the server and the bare SavedModel in turns.

    Args:
      model_dir: what `Captioner` takes.
      image_dir: a folder of images.
      repeats: runs of each.

    Raises:
      UserError: wrk is not installed, there is no image or model, or a number is below 1.
    """
    if not shutil.which("wrk"):
        raise UserError("imcap bench serve needs the load tool wrk (apt-get install wrk)")
    if repeats < 1:
        raise UserError(f"--repeats={repeats}: must be at least 1")
    paths = list(itertools.islice(caption_files.find_images([image_dir]), _MAX_IMAGES))
    server_cores, load_cores = split_cores(sorted(os.sched_getaffinity(0)))
    runs: list[dict[str, Mapping[str, float]]] = []
    with tempfile.TemporaryDirectory() as folder:
        arguments = _write_load(folder, paths)
        for _ in range(repeats):
            run: dict[str, Mapping[str, float]] = {}
            for kind in ("plain", "frozen"):
                with _on_cores(server_cores):
                    module = "imcap.benchmarks.peers.bare_model"
                    run[kind] = common.run_module(module, model_dir, kind, *paths)
            with _server(model_dir, server_cores) as url, _on_cores(load_cores):
                for clients in CLIENTS:
                    run_load(url, arguments, clients, _WARM_UP_SECONDS)
                    _wait_until_idle(url, arguments[1])
                    run[str(clients)] = run_load(url, arguments, clients, _SECONDS)
            runs.append(run)
    return compare(runs)


def split_cores(cores: Sequence[int]) -> tuple[list[int], list[int]]:
    """Returns the cores of the server, and that of the load tool: the last, if there are two."""
    return (list(cores[:-1]), [cores[-1]]) if len(cores) > 1 else (list(cores), list(cores))


def compare(runs: Sequence[Mapping[str, Mapping[str, float]]]) -> list[common.Row]:
    """Returns the rows of the measured figures.

    Args:
      runs: of each run the figures of `plain` and `frozen` calls, and by the number of clients.
    """

    def median(kind: str, figure: str) -> float:
        return statistics.median(run[kind][figure] for run in runs)

    def ratio(kind: str, figure: str, peer_figure: str) -> float:
        pairs = [(run[kind][figure], run["frozen"][peer_figure]) for run in runs]
        return statistics.median(ours / theirs for ours, theirs in pairs)

    rows = []
    for kind, name in (("plain", "SavedModel"), ("frozen", "SavedModel, frozen weights")):
        rate = median(kind, "best_images_per_second")
        rows.append(common.Row(f"{name}, best batches", rate, "images/s"))
        rows.append(common.Row(f"{name}, one image: p50", median(kind, "single_ms"), "ms"))
    for clients in CLIENTS:
        name, kind = f"imcap serve, {clients} clients", str(clients)
        rate = ratio(kind, "images_per_second", "best_images_per_second")
        at_least = _RATE_AT_LEAST if clients == max(CLIENTS) else None
        value = median(kind, "images_per_second")
        rows.append(common.Row(name, value, "images/s", rate, at_least))
        for figure in ("p50", "p95", "p99"):
            row = common.Row(f"{name}: {figure}", median(kind, f"{figure}_ms"), "ms")
            if clients == 1 and figure == "p50":
                row.ratio = ratio(kind, "p50_ms", "single_ms")
                row.at_most = _LATENCY_AT_MOST
            rows.append(row)
        rows.append(common.Row(f"{name}: errors", median(kind, "errors"), "requests"))
    return rows


def _write_load(folder: str, paths: Sequence[str]) -> list[str]:
    """Writes the script and the bodies of requests; returns their paths, the script's first."""
    files = [os.path.join(folder, "load.lua")]
    with open(files[0], "w", encoding="ascii") as file:
        file.write(_LUA)
    for index, path in enumerate(paths):
        with open(path, "rb") as image:
            encoded = base64.b64encode(image.read()).decode()
        files.append(os.path.join(folder, f"{index}.json"))
        with open(files[-1], "w", encoding="ascii") as file:
            json.dump({"instances": [{"image_bytes": {"b64": encoded}}]}, file)
    return files


def run_load(url: str, arguments: Sequence[str], clients: int, seconds: int) -> Mapping[str, float]:
    """Lets clients send requests, each its next one when it has the reply.

    Args:
      url: of a model's `:predict`.
      arguments: the script, and the bodies in files.
      clients: connections.
      seconds: how long.

    Returns:
      `images_per_second`, `errors`, and `p50_ms`, `p95_ms` and `p99_ms` of the replies.
    """
    script, *bodies = arguments
    command = ["wrk", "--threads=1", f"--connections={clients}", f"--duration={seconds}s"]
    command += ["--timeout=120s", f"--script={script}", url, "--", *bodies]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    figures = json.loads(finished.stdout.strip().splitlines()[-1])
    return {**figures, "images_per_second": figures["requests"] / figures["seconds"]}


@contextlib.contextmanager
def _on_cores(cores: Sequence[int]) -> Iterator[None]:
    """Lets processes that are started run on some cores only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def _server(model_dir: str, cores: Sequence[int]) -> Iterator[str]:
    """Runs the server on some cores; gives the URL of its predictions."""
    command = [sys.executable, "-m", "imcap", "serve", f"--model={_NAME}={model_dir}", "--port=0"]
    with _on_cores(cores):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if "http://" not in line:
            raise UserError(f"--model={model_dir}: cannot be served")
        url = line.split()[-1]
        _wait_until_ready(url.split("/v1/")[0])
        yield url
    finally:
        process.terminate()
        process.communicate()


def _wait_until_idle(url: str, body: str) -> None:
    """Returns after a request of its own, which comes after those that wrk has left behind."""
    with open(body, "rb") as file:
        urllib.request.urlopen(url, file.read()).close()


def _wait_until_ready(base_url: str) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"{base_url}/readyz").close()
            return
        except urllib.error.HTTPError:
            time.sleep(0.2)
    raise UserError(f"{base_url}: the server is not ready after {_READY_SECONDS} s")
