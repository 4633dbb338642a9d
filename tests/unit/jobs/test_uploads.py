"""Uploads: a picture with an id, which keeps it as long as it lives itself."""

from typing import Any

import pytest

from jobs.errors import ImageExpired
from jobs.image_store import ImageStore
from jobs.ledger import Ledger
from jobs.request import ImagePart
from jobs.scripts import PREFIX, Scripts
from jobs.uploads import Upload, Uploads
from tests.ledgers import Clock, everything, submitted

PICTURE = ImagePart("d" * 64, 64, 48)
LIFE = 3_600_000
IMAGE = f"{PREFIX}image:acme:{PICTURE.digest}"


@pytest.fixture
def images(client: Any) -> ImageStore:
    """An image store with one picture of tenant acme."""
    store = ImageStore(client)
    store.put("acme", PICTURE.digest, b"pixels")
    return store


@pytest.fixture
def uploads(client: Any, images: ImageStore, clock: Clock) -> Uploads:
    """Uploads that are kept for an hour."""
    return Uploads(client, Scripts(client, clock=clock), LIFE)


def uploaded(uploads: Uploads) -> Upload:
    """The picture, with an id of its own."""
    return uploads.add("acme", PICTURE.digest, PICTURE.width, PICTURE.height)


def is_kept(images: ImageStore) -> bool:
    """Whether the picture is still there."""
    try:
        return images.get("acme", PICTURE.digest) == b"pixels"
    except ImageExpired:
        return False


def test_an_upload_is_found_by_its_id(uploads: Uploads, clock: Clock) -> None:
    made = uploaded(uploads)
    assert made.id.startswith("img_")
    assert made.expires_at == clock.now + LIFE
    assert uploads.get("acme", made.id) == made


def test_another_tenants_upload_is_none(uploads: Uploads) -> None:
    made = uploaded(uploads)
    assert uploads.get("other", made.id) is None
    assert not uploads.discard("other", made.id)
    assert uploads.get("acme", made.id) == made


def test_the_picture_lives_as_long_as_its_upload(uploads: Uploads, client: Any) -> None:
    made = uploaded(uploads)
    assert client.pttl(IMAGE) >= client.pttl(f"{PREFIX}upload:acme:{made.id}") > LIFE - 60_000


def test_a_picture_that_is_kept_for_longer_is_not_cut_short(uploads: Uploads, client: Any) -> None:
    client.pexpire(IMAGE, 5 * LIFE)
    uploaded(uploads)
    assert client.pttl(IMAGE) > 4 * LIFE


def test_a_picture_that_is_not_there_has_no_id(uploads: Uploads, client: Any) -> None:
    with pytest.raises(ImageExpired):
        uploads.add("acme", "e" * 64, 64, 48)
    assert not client.keys(f"{PREFIX}upload*")


def test_a_discarded_upload_takes_its_picture_along(
    uploads: Uploads, images: ImageStore, client: Any
) -> None:
    made = uploaded(uploads)
    assert uploads.discard("acme", made.id)
    assert uploads.get("acme", made.id) is None
    assert not is_kept(images)
    assert not everything(client)
    assert not uploads.discard("acme", made.id)


def test_the_picture_stays_for_another_upload(uploads: Uploads, images: ImageStore) -> None:
    first, second = uploaded(uploads), uploaded(uploads)
    assert first.id != second.id
    uploads.discard("acme", first.id)
    assert is_kept(images)
    uploads.discard("acme", second.id)
    assert not is_kept(images)


def test_the_picture_stays_for_a_job_that_shows_it(
    uploads: Uploads, images: ImageStore, ledger: Ledger
) -> None:
    made = uploaded(uploads)
    job_id = submitted(ledger, images=(PICTURE,))
    uploads.discard("acme", made.id)
    assert is_kept(images)
    ledger.erase("acme", job_id)
    assert not is_kept(images)


def test_erasing_a_job_leaves_an_uploaded_picture_for_as_long_as_the_upload(
    uploads: Uploads, images: ImageStore, ledger: Ledger, client: Any
) -> None:
    uploaded(uploads)
    ledger.erase("acme", submitted(ledger, images=(PICTURE,)))
    assert is_kept(images)
    assert client.pttl(IMAGE) <= LIFE


def test_an_upload_that_has_expired_keeps_no_picture(
    uploads: Uploads, images: ImageStore, ledger: Ledger, clock: Clock
) -> None:
    uploaded(uploads)
    job_id = submitted(ledger, images=(PICTURE,))
    clock.forward(LIFE)
    ledger.erase("acme", job_id)
    assert not is_kept(images)
