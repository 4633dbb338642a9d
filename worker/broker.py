"""The broker as a worker uses it: lost connections come back, and hints go with them."""

from __future__ import annotations

from typing import Any

from kombu import Connection
from kombu.transport import redis

AGAIN_S = 1
"""Between two tries to reach a broker that is away."""


class HintChannel(redis.Channel):
    """A channel whose messages need neither be restored nor acknowledged once it is closed.

    A task that ends after its connection was lost would acknowledge on a closed channel, and a
    closing one would restore what is not acknowledged over a connection that is gone. kombu 5.7.0
    raises AttributeError at either, which ends the worker with the model that it has loaded. A hint
    that stays unacknowledged comes once more, half an hour later, and finds nothing to claim.
    """

    do_restore = False

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:
        """Acknowledge, as long as the channel is open."""
        if not self.closed:
            super().basic_ack(delivery_tag, multiple=multiple)

    def basic_reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Reject, as long as the channel is open."""
        if not self.closed:
            super().basic_reject(delivery_tag, requeue=requeue)


class SentinelHintChannel(HintChannel, redis.SentinelChannel):
    """Such a channel to whichever server leads."""


class HintTransport(redis.Transport):
    """Redis or Valkey as a broker of hints."""

    Channel = HintChannel


class SentinelHintTransport(redis.SentinelTransport):
    """Redis or Valkey behind sentinels as a broker of hints."""

    Channel = SentinelHintChannel


class HintConnection(Connection):
    """A connection over such channels, which comes back soon after the store does.

    Celery waits two seconds longer after each try, up to thirty: longer than a worker that claims
    nothing while jobs wait is taken to be well.
    """

    def get_transport_cls(self) -> type[redis.Transport]:
        """Return our transport for the URL's scheme, which says whether TLS is spoken, too."""
        return SentinelHintTransport if self.transport_cls == "sentinel" else HintTransport

    def ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        """Return this connection once there is one."""
        waits = {"interval_start": AGAIN_S, "interval_step": 0, "interval_max": AGAIN_S}
        return super().ensure_connection(*args, **kwargs | waits)
