"""Pictures that are sent once."""

from __future__ import annotations

from api.images.routes import CreateImage
from api.openapi import examples
from api.openapi.answers import Image
from api.openapi.error_codes import at_their_status
from api.openapi.operation import Answer, Body, Form, Link, Operation, Section
from api.openapi.parameters import named
from api.openapi.sections.jobs import PICTURE_ERRORS

_IMAGE = {
    "id": examples.IMAGE_ID,
    "width": 1280,
    "height": 720,
    "expires_at": "2026-11-26T09:30:00.000Z",
}

SECTION = Section(
    "Pictures",
    'A picture is sent once, and later jobs name it: `"images": [{"id": "img_..."}]`.',
    (
        Operation(
            "POST /v1/images",
            "create_image",
            "Upload a picture",
            body=Body(
                CreateImage,
                {"data": examples.PICTURE},
                Form(instead_of="data", many=False, example={"image": "@panel.png"}),
            ),
            answers=(
                Answer(
                    201,
                    "kept until `expires_at`, and for as long as a job shows it",
                    Image,
                    _IMAGE,
                    links=(
                        Link("create_job", {}),
                        Link("erase_image", {"image_id": "$response.body#/id"}),
                    ),
                ),
            ),
            errors=at_their_status(*PICTURE_ERRORS, "image_url_off"),
        ),
        Operation(
            "DELETE /v1/images/{image_id}",
            "erase_image",
            "Erase a picture",
            detail="But for what jobs still show.",
            parameters=(named("image_id", "the picture", examples.IMAGE_ID),),
            answers=(Answer(204, "erased"),),
            errors={404: ("image_not_found",)},
        ),
    ),
)
