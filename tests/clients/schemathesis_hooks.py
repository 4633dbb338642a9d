"""What schemathesis is told beside the document: pictures, and what this one installation has.

It is loaded by schemathesis itself, in a process of its own.
"""

import base64
from typing import Any

import schemathesis
from hypothesis import strategies as st

from tests.unit.api.pictures import encoded, scene

PICTURES = [encoded(scene(), kind) for kind in ("PNG", "JPEG", "WEBP")]
URIS = [f"data:image/png;base64,{base64.b64encode(data).decode()}" for data in PICTURES]

schemathesis.openapi.format("picture", st.sampled_from(URIS))
for media in ("image/png", "image/jpeg", "image/webp", "image/gif", "image/avif"):
    schemathesis.openapi.media_type(media, st.sampled_from(PICTURES))


@schemathesis.hook
def before_load_schema(context: schemathesis.HookContext, raw_schema: dict[str, Any]) -> None:
    """Close what answers may have, and keep to what this installation has."""
    schemas = raw_schema["components"]["schemas"]
    for schema in schemas.values():
        if "properties" in schema:
            schema["additionalProperties"] = False
    form = _without_nothing(raw_schema)
    for name, fields in (
        ("CreateJob", schemas["CreateJob"]["properties"]),
        ("ChatCompletion", schemas["ChatCompletion"]["properties"]),
        ("form", form["properties"]),
    ):
        fields["model"] = {"const": "demo"}
        for unknown in {"previous_job_id", "webhook"} & fields.keys():
            fields[unknown] = {"type": "null"}
            if name == "form":
                del fields[unknown]
    _by_data_alone(schemas)
    _held_for_a_second(raw_schema)


def _by_data_alone(schemas: dict[str, Any]) -> None:
    """Have pictures come as data: URLs are off here, and of uploads only links know the ids."""
    for name, source in (("ImageInput", "data"), ("ImageUrl", "url")):
        fields = schemas[name]["properties"]
        for other in {"data", "url", "id"} & fields.keys():
            fields[other] = {"type": "null"}
        fields[source] = {"type": "string", "format": "picture"}


def _without_nothing(raw_schema: dict[str, Any]) -> dict[str, Any]:
    """Have forms not be judged by fields that are not there; the form of a job."""
    forms: list[dict[str, Any]] = [
        raw_schema["paths"][path]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
        for path in ("/v1/jobs", "/v1/images")
    ]
    for form in forms:
        # A field that should not be there may be sent as null, which in a form is nothing at all.
        del form["additionalProperties"]
    return forms[0]


def _held_for_a_second(raw_schema: dict[str, Any]) -> None:
    for methods in raw_schema["paths"].values():
        for said in methods.values():
            for parameter in said.get("parameters", ()):
                if parameter["name"] == "Prefer":
                    parameter["example"] = "wait=1"
                if parameter["name"] == "Idempotency-Key":
                    del parameter["example"]  # the same key with other bodies is refused
