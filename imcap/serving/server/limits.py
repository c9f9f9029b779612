"""What the server accepts, how it forms batches, and how long it waits."""

from __future__ import annotations

import dataclasses

from imcap.errors import UserError

_MIB = 1 << 20


@dataclasses.dataclass(frozen=True)
class Limits:
    """The server's limits; each is the flag of `imcap serve` of the same name.

    Attributes:
      max_body_mib: the largest request body, in MiB.
      max_image_mib: the largest encoded image, in MiB.
      max_image_megapixels: the most pixels that an image may declare, in millions.
      max_instances: the most instances of a request.
      max_batch_size: the most instances that one call of a model gets.
      batch_timeout_ms: how long an instance may wait for others to share its batch, in ms.
      max_waiting: the most requests that wait for a model; further ones are refused (503).
      max_connections: the most open connections.
      request_timeout_s: how long a request may take after it has been received, in seconds.
    """

    max_body_mib: int = 64
    max_image_mib: int = 32
    max_image_megapixels: int = 100
    max_instances: int = 1000
    max_batch_size: int = 32
    batch_timeout_ms: float = 2.0
    max_waiting: int = 256
    max_connections: int = 1000
    request_timeout_s: float = 60.0

    def __post_init__(self) -> None:
        """Raises UserError for a limit that would refuse everything."""
        for field in dataclasses.fields(self):
            value, least = getattr(self, field.name), 0 if field.type == "float" else 1
            if value < least or (field.name == "request_timeout_s" and value <= 0):
                needed = "above 0" if field.name == "request_timeout_s" else f"at least {least}"
                raise UserError(f"--{field.name}={value}: must be {needed}")

    @property
    def body_bytes(self) -> int:
        """The largest request body, in bytes."""
        return self.max_body_mib * _MIB

    @property
    def image_bytes(self) -> int:
        """The largest encoded image, in bytes."""
        return self.max_image_mib * _MIB
