"""The broker as a worker uses it: lost connections come back, and hints go with them."""

from __future__ import annotations

from typing import Any

from kombu import Connection
from kombu.transport import redis, virtual

AGAIN_S = 1
"""Between two tries to reach a broker that is away."""


class HintQoS(virtual.QoS):
    """Counts the hints that a worker has in hand, so that it takes no more than it has slots.

    kombu's own for Redis also writes each message down in the store until it is acknowledged, and
    delivers it again after half an hour, which is two round trips a job and of no use here: a hint
    that is lost is published again by the sweeper. With kombu 5.7.0 it also ends a worker that
    acknowledges after its connection was lost.
    """

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Have a hint in hand no longer; it is not put back either."""
        del requeue
        self.ack(delivery_tag)


class HintChannel(redis.Channel):
    """A channel of hints; one that is closed has nothing to restore."""

    QoS = HintQoS
    do_restore = False


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
