"""What OpenAI's clients call."""

from __future__ import annotations

from api.openai.chat_request import ChatCompletion
from api.openapi import examples
from api.openapi.answers import Model, ModelList
from api.openapi.completion import Completion
from api.openapi.error_codes import at_their_status, together
from api.openapi.operation import EVENTS, MESSAGE, Answer, Body, Errors, Link, Operation, Section
from api.openapi.parameters import named
from api.openapi.sections.jobs import IDEMPOTENCY_KEY, JOB_ERRORS
from api.openapi.streams import Chunk, StreamError

_MODEL = {"id": examples.MODEL, "object": "model", "created": 0, "owned_by": "llava-jobs"}
_HEAD = {"id": examples.JOB_ID, "created": 1764063000, "model": examples.MODEL}
_CHOICE = {"index": 0, "finish_reason": "stop", "logprobs": None}
_COMPLETION = {
    **_HEAD,
    "object": "chat.completion",
    "choices": [{**_CHOICE, "message": {"role": "assistant", "content": "E42"}}],
    "usage": {
        "prompt_tokens": 412,
        "completion_tokens": 4,
        "total_tokens": 416,
        "prompt_tokens_details": {"cached_tokens": 0},
    },
}
_CHUNKS = f"""data: {{"id": "{examples.JOB_ID}", "object": "chat.completion.chunk", \
"created": 1764063000, "model": "demo", "choices": [{{"index": 0, "delta": {{"content": "E42"}}, \
"finish_reason": null, "logprobs": null}}]}}

data: [DONE]
"""


def _as_openai_says_it(errors: Errors) -> Errors:
    """Return a job's errors with the statuses that OpenAI's clients have a class for."""
    moved = [codes for status, codes in errors.items() if status == 422]
    wrong = tuple(code for codes in moved for code in codes if code != "model_not_found")
    rest = {status: codes for status, codes in errors.items() if status != 422}
    return together(rest, {400: wrong, 404: ("model_not_found",)})


_ENDED_WITHOUT_AN_ANSWER: Errors = {
    400: (
        *(
            "invalid_request",
            "prompt_too_long",
            "too_many_images",
            "image_unreadable",
            "image_expired",
            "refused",
        ),
    ),
    404: ("job_not_found",),
    409: ("job_canceled",),
    500: ("out_of_memory", "policy_failed", "preprocessing_crashed", "engine_error", "poison"),
    503: ("not_answered_yet",),
    504: ("not_answered_yet", "deadline_exceeded", "expired"),
}
_OF_FIELDS = ("missing_field", "unknown_field", "invalid_field", "image_not_found")

SECTION = Section(
    "OpenAI's clients",
    '`OpenAI(base_url=".../v1", api_key=key)` of the `openai` package works as it is.',
    (
        Operation(
            "POST /v1/chat/completions",
            "create_chat_completion",
            "Answer a conversation",
            detail="Makes a job and waits for its end. With `stream` the answer comes piece by "
            "piece, and a failure is the last event. Hanging up cancels the job, unless another "
            "one follows it or it has an `Idempotency-Key`.",
            parameters=(IDEMPOTENCY_KEY,),
            body=Body(
                ChatCompletion,
                {
                    "model": examples.MODEL,
                    "messages": [
                        {
                            "role": "user",
                            "content": [
                                {"type": "image_url", "image_url": {"url": examples.PICTURE}},
                                {"type": "text", "text": examples.QUESTION},
                            ],
                        }
                    ],
                },
            ),
            answers=(
                Answer(
                    200,
                    "the answer; its `id` is the job's",
                    Completion,
                    _COMPLETION,
                    headers=("Operation-Location",),
                    links=(
                        Link("get_job", {"job_id": "$response.body#/id"}),
                        Link("erase_job", {"job_id": "$response.body#/id"}),
                    ),
                ),
                Answer(
                    200,
                    "with `stream`: chunks, and `[DONE]`",
                    None,
                    _CHUNKS,
                    EVENTS,
                    headers=("Operation-Location",),
                    events=((MESSAGE, Chunk), (MESSAGE, StreamError)),
                ),
            ),
            errors=together(
                _as_openai_says_it(at_their_status(*JOB_ERRORS)),
                {400: _OF_FIELDS},
                at_their_status("too_many_connections", "connections_full"),
                _ENDED_WITHOUT_AN_ANSWER,
            ),
        ),
        Operation(
            "GET /v1/models",
            "list_models",
            "List models",
            detail="Those that have live workers.",
            answers=(Answer(200, "the models", ModelList, {"object": "list", "data": [_MODEL]}),),
        ),
        Operation(
            "GET /v1/models/{name}",
            "get_model",
            "Look at a model",
            parameters=(named("name", "the model", examples.MODEL),),
            answers=(Answer(200, "it has live workers", Model, _MODEL),),
            errors={404: ("model_not_found",)},
        ),
    ),
)
