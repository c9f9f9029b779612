"""Good and broken requests at once while versions come and go; see `main` for a long run.

    python tests/support/soak.py MODEL_DIR IMAGE_DIR SECONDS CLIENTS

serves copies of the exported model MODEL_DIR and prints what became of the requests.
"""

from __future__ import annotations

import asyncio
import base64
import collections
import dataclasses
import itertools
import json
import random
import shutil
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

HUGE = (100_000).to_bytes(4, "big") * 2


@dataclasses.dataclass
class Outcome:
    """What became of the requests.

    Attributes:
      good: how many good requests were answered with the right captions.
      refused: broken ones that were answered with a 4xx and a reason, by kind.
      unexpected: of each other answer a line.
      versions: those that answered.
    """

    good: int = 0
    refused: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    unexpected: list[str] = dataclasses.field(default_factory=list)
    versions: set[int] = dataclasses.field(default_factory=set)


class Soak:
    """Clients of a server that listens on an address and serves one model."""

    def __init__(self, port: int, name: str, images: Sequence[bytes], max_body: int) -> None:
        self._port, self._name, self._images, self._max_body = port, name, list(images), max_body
        self._expected: list[str] = []
        self.outcome = Outcome()
        self._idle: list[asyncio.StreamWriter] = []

    async def run(
        self, seconds: float, clients: int, bad_share: float, min_versions: int = 1
    ) -> Outcome:
        """Sends requests for some seconds, and until several versions have answered.

        A share of them is broken, and there is each kind of broken request.
        """
        for image in self._images:
            _, reply = await self._exchange("/caption", image)
            self._expected.append(reply["caption"])
        end, kinds = time.monotonic() + seconds, self._broken_kinds()

        def is_over() -> bool:
            late = time.monotonic() - end
            return late >= 0 and (len(self.outcome.versions) >= min_versions or late > 60)

        client = [
            self._client(is_over, bad_share, kinds[number::clients], random.Random(number))
            for number in range(clients)
        ]
        await asyncio.gather(*client)
        for writer in self._idle:
            writer.close()
        return self.outcome

    async def _client(
        self, is_over: Callable[[], bool], bad_share: float, own_kinds: list, rng: random.Random
    ) -> None:
        for kind in own_kinds:
            await self._send_broken(*kind, rng)
        kinds = self._broken_kinds()
        while not is_over():
            if rng.random() >= bad_share:
                await self._send_good(rng)
            else:
                await self._send_broken(*rng.choice(kinds), rng)

    async def _send_good(self, rng: random.Random) -> None:
        chosen = rng.choices(range(len(self._images)), k=rng.randint(1, 3))
        expected = [self._expected[index] for index in chosen]
        if len(chosen) == 1:
            status, reply = await self._exchange("/caption", self._images[chosen[0]])
            found = [reply.get("caption")]
            self.outcome.versions.add(reply.get("version", 0))
        else:
            body = self._body(*[self._images[index] for index in chosen])
            status, reply = await self._exchange(self._predict, body)
            found = [row["caption"] for row in reply.get("predictions", [])]
        if (status, found) == (200, expected):
            self.outcome.good += 1
        else:
            self.outcome.unexpected.append(f"good: {status} {reply}")

    @property
    def _predict(self) -> str:
        return f"/v1/models/{self._name}:predict"

    def _body(self, *images: bytes, **more: object) -> bytes:
        rows = [{"image_bytes": {"b64": base64.b64encode(image).decode()}} for image in images]
        return json.dumps({"instances": rows, **more}).encode()

    def _broken_kinds(self) -> list[tuple[str, str, Callable[[bytes], bytes]]]:
        """Returns name, path and body, made of a good image, of each kind of broken request."""
        predict = self._predict
        return [
            ("bad base64", predict, lambda image: b'{"instances": [{"b64": "@@@"}]}'),
            ("text", predict, lambda image: self._body(b"no image at all, but a line of text")),
            ("among good ones", predict, lambda image: self._body(image, b"text" * 20, image)),
            ("truncated", "/caption", lambda image: image[: len(image) - len(image) // 3]),
            ("oversized", predict, lambda image: b" " * (self._max_body + 1)),
            ("huge dimensions", "/caption", lambda image: huge_png()),
            ("wrong JSON", predict, lambda image: self._body(image)[:-3]),
            ("wrong signature", predict, lambda image: self._body(image, signature_name="no")),
            ("wrong input", predict, lambda image: b'{"instances": [{"image": "a"}]}'),
            ("wrong version", predict.replace(":", "/versions/999:"), self._body),
            ("slow sender", "", self._body),
            ("dropped connection", "", self._body),
        ]

    async def _send_broken(
        self, kind: str, path: str, make: Callable[[bytes], bytes], rng: random.Random
    ) -> None:
        body = make(rng.choice(self._images))
        if not path:
            await self._leave(body, is_slow=kind == "slow sender")
            self.outcome.refused[kind] += 1
            return
        status, reply = await self._exchange(path, body)
        if 400 <= status < 500 and reply.get("error"):
            self.outcome.refused[kind] += 1
        else:
            self.outcome.unexpected.append(f"{kind}: {status} {reply}")

    async def _leave(self, body: bytes, *, is_slow: bool) -> None:
        """Sends a part of a request and stays silent, or all of it and leaves."""
        _, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(self._head(self._predict, body) + (body[:10] if is_slow else body))
        await writer.drain()
        if is_slow:
            self._idle.append(writer)
        else:
            writer.close()

    def _head(self, path: str, body: bytes) -> bytes:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode()

    async def _exchange(self, path: str, body: bytes) -> tuple[int, dict]:
        """Returns the status and the JSON of a reply; 0 if there was none."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            writer.write(self._head(path, body) + body)
            reply = await reader.read()
            writer.close()
            head, _, content = reply.partition(b"\r\n\r\n")
            return int(head.split()[1]), json.loads(content)
        except (OSError, IndexError, ValueError) as error:
            return 0, {"exception": repr(error)}


def huge_png() -> bytes:
    """A PNG of a few bytes that declares 100,000 pixels a side."""
    header = b"IHDR" + HUGE + b"\x08\x02\0\0\0"
    check = zlib.crc32(header).to_bytes(4, "big")
    return b"\x89PNG\r\n\x1a\n\0\0\0\r" + header + check


async def drop_versions(model: Path, folder: Path, seconds: float, pause: float) -> None:
    """Adds a copy of a model as the next version again and again, and removes the one before."""
    end, version = time.monotonic() + seconds, 1
    while time.monotonic() + pause < end:
        await asyncio.sleep(pause)
        version += 1
        await asyncio.to_thread(shutil.copytree, model, folder / "partial")
        (folder / "partial").rename(folder / str(version))
        if version > 2:
            shutil.rmtree(folder / str(version - 2))


def resident_mib(pid: int) -> float:
    """Returns a process's resident memory in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


async def _main(model: Path, image_dir: Path, seconds: float, clients: int) -> None:
    import os
    import tempfile

    from imcap.serving.caption_files import find_images

    paths = itertools.islice(find_images([str(image_dir)]), 20)
    images = [Path(path).read_bytes() for path in paths]
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(model, Path(folder, "1"))
        command = [sys.executable, "-m", "imcap", "serve", f"--model=m={folder}", "--port=0"]
        process = await asyncio.create_subprocess_exec(
            *command, "--max_body_mib=8", stdout=asyncio.subprocess.PIPE
        )
        line = (await process.stdout.readline()).decode()
        soak = Soak(int(line.split(":")[2].split("/")[0]), "m", images, 8 << 20)
        sampling = asyncio.create_task(_print_memory(process.pid))
        dropping = drop_versions(model, Path(folder), seconds, 60)
        outcome, _ = await asyncio.gather(soak.run(seconds, clients, 0.05), dropping)
        sampling.cancel()
        process.terminate()
        print(outcome, "exit status", await process.wait(), os.getloadavg())


async def _print_memory(pid: int) -> None:
    while True:
        print(f"{time.strftime('%H:%M:%S')} {resident_mib(pid):.0f} MiB", flush=True)
        await asyncio.sleep(30)


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])))
