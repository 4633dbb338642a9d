"""The broker as a worker uses it: a hint that outlived its connection is let go."""

from __future__ import annotations

from kombu.transport import redis


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


class HintTransport(redis.Transport):
    """Redis or Valkey as a broker of hints."""

    Channel = HintChannel
