"""What a tenant's pictures and uploads take of the store: counted once, and limited."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.errors import ImageExpired, TenantImagesFull
from jobs.image_store import ImageStore
from jobs.ledger import Ledger
from jobs.request import ImagePart
from jobs.scripts import PREFIX, Scripts
from jobs.tenants import TenantLimits, Tenants
from jobs.uploads import Uploads
from tests.conftest import NewLedger
from tests.ledgers import ANSWER, Clock, claimed, draft

PICTURE = 1_000
MOST = 3 * PICTURE
UPLOAD = 512
LIFE = 3_600_000


@pytest.fixture
def ledger(new_ledger: NewLedger) -> Ledger:
    """A ledger that takes three pictures of a tenant."""
    return new_ledger(tenant_images=MOST)


@pytest.fixture
def images(client: Any) -> ImageStore:
    """A store of pictures that takes as many."""
    return ImageStore(client, most_of_tenant=MOST)


@pytest.fixture
def uploads(client: Any, clock: Clock) -> Uploads:
    """Uploads that are kept for an hour, and count among them."""
    return Uploads(client, Scripts(client, clock=clock), LIFE, MOST)


def digest(number: int) -> str:
    """Of a picture."""
    return f"{number:064x}"


def show(ledger: Ledger, *numbers: int, tenant: str = "acme", sent: bool = True) -> str:
    """The id of a job that shows pictures, which come with it."""
    parts = tuple(ImagePart(digest(number), 10, 10) for number in numbers)
    pictures = {digest(number): b"x" * PICTURE for number in numbers} if sent else {}
    return ledger.submit(draft(tenant, images=parts, pictures=pictures))[0].id


def counted(client: Any, tenant: str = "acme") -> int:
    """The bytes that a tenant's pictures have by the account."""
    return int(client.hget(f"{PREFIX}sizes:images:{tenant}", "") or 0)


def test_a_tenant_sends_no_more_pictures_than_it_may_and_others_go_on(ledger: Ledger) -> None:
    show(ledger, 1, 2)
    show(ledger, 3)
    with pytest.raises(
        TenantImagesFull, match=f"{MOST} bytes together, and have {MOST}"
    ) as refused:
        show(ledger, 4)
    assert (refused.value.status, refused.value.code) == (429, "tenant_images_full")
    assert refused.value.retry_after
    show(ledger, 4, tenant="other")


def test_a_picture_counts_once_however_many_show_it(ledger: Ledger, client: Any) -> None:
    for _ in range(4):
        show(ledger, 1, 2)
    assert counted(client) == 2 * PICTURE
    show(ledger, 1, 3)
    show(ledger, 1, 2, 3, sent=False)
    assert counted(client) == MOST


def test_a_refused_job_leaves_nothing_and_counts_for_nothing(ledger: Ledger, client: Any) -> None:
    with pytest.raises(TenantImagesFull):
        show(ledger, 1, 2, 3, 4)
    assert [key for key in client.keys(f"{PREFIX}*") if key != b"lj:durable"] == []


@pytest.mark.parametrize("how", ["erased", "discarded", "written"])
def test_room_comes_back_with_the_last_that_shows_a_picture(
    ledger: Ledger, client: Any, images: ImageStore, uploads: Uploads, how: str
) -> None:
    if how == "discarded":
        images.put("acme", digest(1), b"x" * PICTURE)
        upload = uploads.add("acme", digest(1), 10, 10)
        assert counted(client) == PICTURE + UPLOAD
        assert uploads.discard("acme", upload.id)
    else:
        first, second = show(ledger, 1), show(ledger, 1)
        if how == "written":
            ledger.finish(claimed(ledger), ANSWER)
        assert ledger.erase("acme", first)
        assert counted(client) == PICTURE
        assert ledger.erase("acme", second)
    assert not client.keys(f"{PREFIX}*images*")
    assert not client.keys(f"{PREFIX}image:*")


def test_a_picture_that_goes_by_itself_counts_no_more(
    ledger: Ledger, client: Any, clock: Clock
) -> None:
    show(ledger, 1, 2, 3)
    client.delete(f"{PREFIX}image:acme:{digest(1)}")  # its time is over
    clock.forward(2 * 86_400_000)
    show(ledger, 4)
    with pytest.raises(TenantImagesFull):
        show(ledger, 5)


def test_a_picture_that_is_kept_longer_than_the_account_knows_stays_in_it(
    ledger: Ledger, client: Any, clock: Clock
) -> None:
    show(ledger, 1, 2, 3)
    clock.forward(2 * 86_400_000)  # by the store's own clock they are all there
    with pytest.raises(TenantImagesFull):
        show(ledger, 4)


def test_the_account_lasts_as_long_as_a_picture_that_an_older_program_keeps_longer(
    images: ImageStore, client: Any, ledger: Ledger, clock: Clock
) -> None:
    month = 30 * 86_400_000
    images.put("acme", digest(1), b"x" * PICTURE)
    client.pexpire(f"{PREFIX}image:acme:{digest(1)}", month)
    clock.forward(2 * 86_400_000)
    show(ledger, 2)
    picture = client.pttl(f"{PREFIX}image:acme:{digest(1)}")
    for part in ("sizes", "ends"):
        assert client.pttl(f"{PREFIX}{part}:images:acme") >= picture
    assert counted(client) == 2 * PICTURE


def test_pictures_of_an_older_program_count_once_they_are_shown_again(
    ledger: Ledger, client: Any
) -> None:
    client.set(f"{PREFIX}image:acme:{digest(1)}", b"x" * PICTURE, px=1000)
    show(ledger, 1, sent=False)
    assert counted(client) == PICTURE


def test_uploads_and_what_they_name_are_counted_and_refused(
    images: ImageStore, uploads: Uploads, client: Any
) -> None:
    images.put("acme", digest(1), b"x" * PICTURE)
    for _ in range(3):
        uploads.add("acme", digest(1), 10, 10)
    with pytest.raises(TenantImagesFull):
        uploads.add("acme", digest(1), 10, 10)
    with pytest.raises(TenantImagesFull):
        images.put("acme", digest(2), b"x" * PICTURE)
    images.put("acme", digest(1), b"x" * PICTURE)
    assert counted(client) == PICTURE + 3 * UPLOAD
    with pytest.raises(ImageExpired):
        images.get("acme", digest(2))


def test_a_tenants_own_limit_comes_before_the_installations(
    ledger: Ledger, images: ImageStore, client: Any
) -> None:
    Tenants(client).set_limits("acme", TenantLimits(image_bytes=PICTURE))
    Tenants(client).set_limits("none", TenantLimits(image_bytes=0))
    show(ledger, 1)
    with pytest.raises(TenantImagesFull, match=f"{PICTURE} bytes"):
        show(ledger, 2)
    with pytest.raises(TenantImagesFull):
        images.put("none", digest(1), b"x")
    Tenants(client).set_limits("acme", TenantLimits())
    show(ledger, 2)


def test_the_account_goes_with_the_pictures_by_itself(ledger: Ledger, client: Any) -> None:
    show(ledger, 1)
    kept = client.pttl(f"{PREFIX}image:acme:{digest(1)}")
    for name in ("sizes", "ends"):
        assert kept <= client.pttl(f"{PREFIX}{name}:images:acme") + 1 <= kept + 86_400_001
