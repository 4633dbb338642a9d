"""A picture stays as long as a job shows it, and goes with the last one that is erased."""

from typing import Any

import pytest

from jobs.errors import ImageExpired
from jobs.image_store import ImageStore
from jobs.ledger import Ledger, Limits
from jobs.request import ImagePart
from jobs.scripts import PREFIX
from tests.ledgers import ANSWER, Clock, claimed, submitted

PICTURE = ImagePart("d" * 64, 64, 48)
RETENTION = Limits().retention


@pytest.fixture
def images(client: Any) -> ImageStore:
    """An image store that keeps one picture of each tenant."""
    store = ImageStore(client)
    for tenant in ("acme", "other"):
        store.put(tenant, PICTURE.digest, b"pixels")
    return store


def test_a_picture_goes_with_the_last_job_that_shows_it(
    client: Any, ledger: Ledger, images: ImageStore
) -> None:
    first, second = (submitted(ledger, images=(PICTURE, PICTURE)) for _ in range(2))
    ledger.erase("acme", first)
    assert images.get("acme", PICTURE.digest) == b"pixels"
    ledger.erase("acme", second)
    with pytest.raises(ImageExpired):
        images.get("acme", PICTURE.digest)
    assert not client.exists(f"{PREFIX}shown:acme")


def test_another_tenants_equal_picture_is_another_picture(
    ledger: Ledger, images: ImageStore
) -> None:
    ledger.erase("acme", submitted(ledger, images=(PICTURE,)))
    assert images.get("other", PICTURE.digest) == b"pixels"


def test_a_picture_goes_with_the_last_job_that_is_forgotten(
    client: Any, ledger: Ledger, images: ImageStore, clock: Clock
) -> None:
    for _ in range(2):
        submitted(ledger, images=(PICTURE,))
        ledger.finish(claimed(ledger), ANSWER)
        clock.forward(1)
    clock.forward(RETENTION - 2)
    ledger.sweep()
    assert images.get("acme", PICTURE.digest) == b"pixels"
    clock.forward(1)
    ledger.sweep()
    with pytest.raises(ImageExpired):
        images.get("acme", PICTURE.digest)
    assert not client.exists(f"{PREFIX}shown:acme")
