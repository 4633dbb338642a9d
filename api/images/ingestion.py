"""The pictures of requests: sent or fetched, decoded and stored, or found again by an id."""

from __future__ import annotations

from dataclasses import dataclass

from api.images.decoder_pool import CanonicalImage, ImageDoor
from api.images.download import ImageUrls
from api.jobs.request import ImageInput, image_bytes
from jobs.errors import InvalidRequest
from jobs.image_store import ImageStore
from jobs.request import ImagePart
from jobs.uploads import Upload, Uploads


@dataclass(frozen=True)
class Pictures:
    """Where pictures come in, and where they are kept."""

    door: ImageDoor
    store: ImageStore
    uploads: Uploads
    urls: ImageUrls

    def shown(
        self, owner: str, sources: list[ImageInput]
    ) -> tuple[list[ImagePart], dict[str, bytes]]:
        """Return what a job shows for what its request names; raises InvalidRequest.

        And the bytes, by digest, of what did not come by an id. They are stored by the script that
        accepts the job, so that a refused request leaves nothing.
        """
        found = [
            self._upload(owner, source.id)
            if source.id is not None
            else self.door.canonical(self._bytes(source), owner)
            for source in sources
        ]
        parts = [
            ImagePart(picture.digest, picture.width, picture.height, source.detail)
            for picture, source in zip(found, sources, strict=True)
        ]
        return parts, {new.digest: new.data for new in found if isinstance(new, CanonicalImage)}

    def upload(self, owner: str, data: bytes) -> Upload:
        """Decode and store a picture and give it an id; raises InvalidRequest, LedgerFull."""
        picture = self.door.canonical(data, owner)
        self.store.put(owner, picture.digest, picture.data)
        return self.uploads.add(owner, picture.digest, picture.width, picture.height)

    def _bytes(self, source: ImageInput) -> bytes:
        address = source.address
        return image_bytes(source.data or "") if address is None else self.urls.fetch(address)

    def _upload(self, owner: str, upload_id: str) -> Upload:
        upload = self.uploads.get(owner, upload_id)
        if upload is None:
            raise InvalidRequest(
                "no picture of yours has this id, or it is no longer kept; upload it again",
                code="image_not_found",
                param="images",
            )
        return upload
