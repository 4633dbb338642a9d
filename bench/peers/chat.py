"""The chat route that this system and other engines have alike: OpenAI's."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from bench.callers import call
from bench.measured import Done, Measured
from bench.processes import ProcessorTime
from bench.workload import Question

ROUTE = "/v1/chat/completions"
ANSWER_TIMEOUT_S = 600


def run_chat(
    name: str,
    model: str,
    client: httpx.Client,
    roles: Mapping[str, str],
    questions: Sequence[Question],
    in_flight: int,
    done: Done,
    extra: Mapping[str, Any] | None = None,
) -> Measured:
    """Answer questions through the chat route of a server, as a way of a `name`.

    `roles` are words of its processes' commands, as in `cpu_by_role`; `extra` are fields that this
    server alone knows. Raises RuntimeError where an
    answer has another length than was asked for: rates in tokens would be wrong.
    """

    def answer(question: Question) -> str:
        response = client.post(ROUTE, json={**body_of(question, model), **(extra or {})})
        reply = response.raise_for_status().json()
        length = reply["usage"]["completion_tokens"]
        if length != question.max_new_tokens:
            raise RuntimeError(f"{name} gave {length} tokens, not {question.max_new_tokens}")
        return str(reply["choices"][0]["message"]["content"]).strip()

    time = ProcessorTime(roles)
    calls = call(questions, in_flight, answer, done)
    return Measured(name, calls.seconds, calls.latencies, calls.replies, cpu=time.so_far())


def body_of(question: Question, model: str) -> dict[str, Any]:
    """Return the request that asks a question, its picture as a data URL."""
    picture = base64.b64encode(question.picture).decode()
    content = [
        {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{picture}"}},
        {"type": "text", "text": question.text},
    ]
    return {
        "model": model,
        "messages": [{"role": "user", "content": content}],
        "max_tokens": question.max_new_tokens,
        "temperature": 0,
    }
