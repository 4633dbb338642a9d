"""`llava-jobs deliver`, which sends webhooks, and `llava-jobs webhooks`: what signs them."""

from __future__ import annotations

import signal
from pathlib import Path

import click
import redis

from jobs.deliveries import Deliveries
from jobs.errors import NotFound
from jobs.logs import configure_logs
from jobs.pulse import Pulse
from jobs.store import connect
from jobs.webhook_secrets import WebhookSecrets
from llava_jobs.stores import data_dir_option, opened_store, promise, read_settings

_tenant_option = click.option(
    "--tenant", default="default", show_default=True, help="Whose webhooks they are."
)


@click.command()
def deliver() -> None:
    """Send webhooks until Ctrl-C or SIGTERM; `up` runs one of these.

    Any number of them may run, on any machine that reaches the store. The settings are those of
    the API: LLAVA_JOBS_REDIS_URL, and LLAVA_JOBS_WEBHOOK_...

    Example: LLAVA_JOBS_REDIS_URL=redis://store:6379/0 llava-jobs deliver
    """
    from jobs.sender import sender

    configure_logs()
    settings = read_settings(None)
    client = connect(settings.required_redis_url)
    pulse = Pulse(settings.pulse_file)
    sending = sender(client, settings, pulse.beat)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sending.stop())
    sending.run()
    pulse.end()
    client.close()


@click.group()
def webhooks() -> None:
    """Make and rotate the secrets that webhooks are signed with.

    Example: llava-jobs webhooks secret --tenant acme
    """


@webhooks.command("secret")
@_tenant_option
@data_dir_option
def make_secret(tenant: str, data_dir: Path) -> None:
    """Make a tenant's secret and print it, the only time that it can be seen.

    Example: llava-jobs webhooks secret --tenant acme
    """
    with opened_store(data_dir, at_rest=True) as store:
        click.echo(_secrets(store).create(tenant))


@webhooks.command("rotate")
@_tenant_option
@data_dir_option
def rotate_secret(tenant: str, data_dir: Path) -> None:
    """Give a tenant a new secret and print it; the one before signs beside it for a day.

    After a leak, rotate twice: the second rotation ends the one before the first at once.

    Example: llava-jobs webhooks rotate --tenant acme
    """
    with opened_store(data_dir, at_rest=True) as store:
        click.echo(_secrets(store).rotate(tenant))


@webhooks.command("enable")
@click.argument("url")
@_tenant_option
@data_dir_option
def enable_url(url: str, tenant: str, data_dir: Path) -> None:
    """Send webhooks to a URL again that answered 410 Gone.

    Example: llava-jobs webhooks enable https://example.com/hook --tenant acme
    """
    with opened_store(data_dir, at_rest=True) as store:
        if not Deliveries(store).enable(tenant, url):
            raise NotFound("no such URL of this tenant is disabled", code="webhook_not_disabled")
    click.echo(f"enabled {url}")


def _secrets(store: redis.Redis) -> WebhookSecrets:
    return WebhookSecrets(store, **promise(store))
