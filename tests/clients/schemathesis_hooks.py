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
schemathesis.openapi.format("binary", st.sampled_from(PICTURES))


@schemathesis.hook
def before_load_schema(context: schemathesis.HookContext, raw_schema: dict[str, Any]) -> None:
    """Close what answers may have, and keep to what this installation has."""
    schemas = raw_schema["components"]["schemas"]
    for schema in schemas.values():
        if "properties" in schema:
            schema["additionalProperties"] = False
    form = raw_schema["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]["multipart/form-data"]
    for name, fields in (
        ("CreateJob", schemas["CreateJob"]["properties"]),
        ("ChatCompletion", schemas["ChatCompletion"]["properties"]),
        ("form", form["schema"]["properties"]),
    ):
        fields["model"] = {"const": "demo"}
        for limit in {"max_new_tokens", "max_tokens", "max_completion_tokens"} & fields.keys():
            fields[limit] = {"type": "integer", "minimum": 1, "maximum": 4}
        for unknown in {"previous_job_id", "webhook"} & fields.keys():
            fields[unknown] = {"type": "null"} if name == "CreateJob" else fields[unknown]
    _by_data_alone(schemas)


def _by_data_alone(schemas: dict[str, Any]) -> None:
    """Have pictures come as data: URLs are off here, and of uploads only links know the ids."""
    for name, source in (("ImageInput", "data"), ("ImageUrl", "url")):
        fields = schemas[name]["properties"]
        for other in {"data", "url", "id"} & fields.keys():
            fields[other] = {"type": "null"}
        fields[source] = {"type": "string", "format": "picture"}


@schemathesis.hook
def map_headers(context: schemathesis.HookContext, headers: dict[str, Any]) -> dict[str, Any]:
    """Have no call held for longer than a second."""
    if headers and "wait" in str(headers.get("Prefer")):
        headers["Prefer"] = "wait=1"
    return headers
