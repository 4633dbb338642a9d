"""Uploading a picture once, for later jobs to name it by id."""

from __future__ import annotations

from flask import Blueprint, Response, request

from api.http.auth import tenant
from api.http.multipart import taken
from api.http.responses import private
from api.jobs.request import Fields, image_bytes, read_json
from api.jobs.response import moment
from api.services import services
from jobs.errors import InvalidRequest, NotFound

bp = Blueprint("uploads", __name__, url_prefix="/v1")


class CreateImage(Fields):
    """The body of ``POST /v1/images``."""

    data: str


@bp.post("/images")
def create_image() -> Response:
    """Keep a picture: 201, and the id by which jobs may name it until it expires."""
    upload = services().pictures.upload(tenant(), _sent())
    data = {
        "id": upload.id,
        "width": upload.width,
        "height": upload.height,
        "expires_at": moment(upload.expires_at),
    }
    return private(data, 201)


@bp.delete("/images/<image_id>")
def erase_image(image_id: str) -> Response:
    """Leave nothing of an uploaded picture but what jobs show of it."""
    if not services().pictures.uploads.discard(tenant(), image_id):
        raise NotFound("no picture of yours has this id", code="image_not_found")
    return Response(status=204)


def _sent() -> bytes:
    """Return the picture's bytes, from a form part named image or from JSON."""
    if request.mimetype != "multipart/form-data":
        return image_bytes(read_json(CreateImage, request).data)
    unknown = [name for name in (*request.form, *request.files) if name != "image"]
    if unknown:
        raise InvalidRequest(
            "send one file part named image", code="unknown_field", param=unknown[0]
        )
    sent = request.files.getlist("image")
    if len(sent) != 1:
        code = "invalid_field" if sent else "missing_field"
        raise InvalidRequest("send one file part named image", code=code, param="image")
    return taken(sent[0])
