"""The official `openai` package is served as by its own maker, as far as this server goes."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai as package
import pytest
from openai import OpenAI

from llava_jobs.demo import PICTURES, Example
from tests.clients.conftest import EXAMPLES, conversation, said, shown
from tests.eventually import eventually
from tests.installations import Installation, caller

FIRST = EXAMPLES[0]
LONG = 4000


def test_every_bundled_question_is_answered_right(openai: OpenAI) -> None:
    def ask(example: Example) -> str | None:
        asked = openai.chat.completions.create(model="demo", messages=conversation(example))
        return asked.choices[0].message.content

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, EXAMPLES))
    assert answers == [example.answer for example in EXAMPLES]


def test_a_streamed_answer_is_the_whole_one(openai: OpenAI) -> None:
    asked: dict[str, Any] = {"model": "demo", "messages": conversation(FIRST), "temperature": 0}
    whole = openai.chat.completions.create(**asked, seed=1)
    # Another seed, which greedy answers do not depend on: the second is not a copy of the first.
    told = list(
        openai.chat.completions.create(
            **asked, seed=2, stream=True, stream_options={"include_usage": True}
        )
    )
    *pieces, last = told
    assert "".join(p.choices[0].delta.content or "" for p in pieces) == FIRST.answer
    assert whole.choices[0].message.content == FIRST.answer
    assert pieces[-1].choices[0].finish_reason == whole.choices[0].finish_reason == "stop"
    assert last.usage
    assert whole.usage
    assert last.usage.completion_tokens == whole.usage.completion_tokens
    assert last.usage.prompt_tokens == whole.usage.prompt_tokens


def test_a_conversation_goes_on_and_its_beginning_is_cached(openai: OpenAI) -> None:
    same = [example for example in EXAMPLES if example.picture == FIRST.picture]
    first, second = same[:2]
    messages = conversation(first)
    answered = openai.chat.completions.create(model="demo", messages=messages, seed=3)
    messages += [answered.choices[0].message, {"role": "user", "content": second.question}]
    answered = openai.chat.completions.create(model="demo", messages=messages, seed=3)
    assert answered.choices[0].message.content == second.answer
    assert answered.usage
    assert answered.usage.prompt_tokens_details
    assert (answered.usage.prompt_tokens_details.cached_tokens or 0) > 100
    counts = answered.usage
    assert counts.total_tokens == counts.prompt_tokens + counts.completion_tokens


def test_limits_and_stop_strings_are_kept(openai: OpenAI) -> None:
    long = max(EXAMPLES, key=lambda example: len(example.answer))
    short = openai.chat.completions.create(
        model="demo", messages=conversation(long), max_completion_tokens=1
    )
    assert short.choices[0].finish_reason == "length"
    assert short.usage
    assert short.usage.completion_tokens == 1
    stopped = openai.chat.completions.create(
        model="demo", messages=conversation(long), max_tokens=50, stop=[long.answer[2:]]
    )
    assert stopped.choices[0].message.content == long.answer[:2]
    assert stopped.choices[0].finish_reason == "stop"


def test_the_model_is_listed_and_found(openai: OpenAI) -> None:
    assert [model.id for model in openai.models.list()] == ["demo"]
    assert openai.models.retrieve("demo").id == "demo"


def test_each_kind_of_failure_is_the_clients_own_class(openai: OpenAI) -> None:
    def ask(client: OpenAI = openai, **changes: Any) -> Any:
        asked = {"model": "demo", "messages": conversation(FIRST), **changes}
        return client.chat.completions.create(**asked)

    with pytest.raises(package.AuthenticationError) as unknown:
        ask(openai.with_options(api_key="lj_000000000000_" + "0" * 48))
    assert unknown.value.code == "invalid_api_key"
    with pytest.raises(package.NotFoundError) as absent:
        ask(model="gpt-none")
    assert (absent.value.code, absent.value.param) == ("model_not_found", "model")
    with pytest.raises(package.NotFoundError):
        openai.models.retrieve("gpt-none")
    with pytest.raises(package.BadRequestError) as many:
        ask(n=2)
    assert (many.value.code, many.value.param) == ("invalid_field", "n")
    with pytest.raises(package.BadRequestError) as tools:
        ask(logprobs=True)
    assert (tools.value.code, tools.value.param) == ("unknown_field", "logprobs")
    linked = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    with pytest.raises(package.BadRequestError) as url:
        ask(messages=[{"role": "user", "content": [linked, said("What is it?")]}])
    assert url.value.code == "image_url_off"
    picture = shown(PICTURES / FIRST.picture)
    with pytest.raises(package.BadRequestError) as long:
        ask(messages=[{"role": "user", "content": [picture, *[said("w " * 3_000)] * 10]}])
    assert long.value.code == "prompt_too_long"


@pytest.mark.usefixtures("gate")
def test_more_at_once_than_a_tenant_may_is_its_rate_limit(
    talkative: OpenAI, installation: Installation
) -> None:
    streams = [
        talkative.chat.completions.create(
            model="talkative",
            messages=conversation(FIRST),
            max_tokens=LONG,
            seed=number,
            stream=True,
        )
        for number in range(4)
    ]
    with pytest.raises(package.RateLimitError) as refused:
        talkative.chat.completions.create(model="talkative", messages=conversation(FIRST))
    assert refused.value.code == "too_many_connections"
    assert refused.value.response.headers["Retry-After"]
    ids = [next(iter(stream)).id for stream in streams]
    for stream in streams:
        stream.close()
    with caller(installation.url, installation.key) as http:
        eventually(lambda: {_status(http, job) for job in ids} == {"canceled"}, "all stop")


@pytest.mark.usefixtures("gate")
def test_a_client_that_gives_up_takes_its_job_along(
    talkative: OpenAI, installation: Installation
) -> None:
    with caller(installation.url, installation.key) as http:
        before = _jobs(http)
        with pytest.raises(package.APITimeoutError):
            talkative.with_options(timeout=3).chat.completions.create(
                model="talkative", messages=conversation(FIRST), max_tokens=LONG, seed=11
            )
        [job_id] = eventually(lambda: _jobs(http) - before, "its job is there")
        eventually(lambda: _status(http, job_id) == "canceled", "it stops")


def test_the_same_asked_twice_at_once_is_one_run(
    talkative: OpenAI, installation: Installation
) -> None:
    def ask(_: int) -> Any:
        return talkative.chat.completions.create(
            model="talkative", messages=conversation(FIRST), max_tokens=60, seed=12
        )

    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(ask, range(3)))
    assert len({answer.id for answer in answers}) == 3
    assert len({answer.choices[0].message.content for answer in answers}) == 1
    with caller(installation.url, installation.key) as http:
        shared = [http.get(f"/v1/jobs/{a.id}").json()["deduplicated_from"] for a in answers]
    assert shared.count(None) == 1


def _jobs(http: httpx.Client) -> set[str]:
    return {job["id"] for job in http.get("/v1/jobs?limit=200").json()["data"]}


def _status(http: httpx.Client, job_id: str) -> str:
    return str(http.get(f"/v1/jobs/{job_id}").json()["status"])
