"""The content policy: what it refuses is failed, and what it could not judge is never told."""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from examples.policy import PrivacyPolicy
from jobs.errors import ConfigurationError
from jobs.image_store import ImageStore
from jobs.job import Job
from jobs.ledger import Ledger
from jobs.pieces import Pieces
from jobs.request import Conversation, ImagePart, Turn
from jobs.settings import Settings
from tests.eventually import PATIENCE_S
from tests.ledgers import MODEL, asked, draft, now, records, submitted
from worker.engine import Picture, Request, Result, Timing
from worker.engine import Turn as EngineTurn
from worker.leases import Leases
from worker.narrator import Narrator
from worker.policy import Guard, Policy, PolicyFailed, Refusal, load_guard
from worker.tasks import Desk

NO = Refusal("no_errors", "This desk does not speak of errors.")
SAID = "The code is E42."


class Engine:
    """An engine that says the same to all, and keeps what it was asked."""

    def __init__(self, said: str = SAID) -> None:
        self.asked: list[Request] = []
        self.listeners = 0
        self.future: Future[Result] = Future()
        timing = Timing(1.0, 0.0, 2.0, 3.0)
        self.future.set_result(Result(said, (1,), 9, 0, 1, "stop", timing))

    def submit(self, request: Request) -> "Engine":
        """Have answered already."""
        self.asked.append(request)
        return self

    def cancel(self) -> None:
        """Come too late."""

    def listen(self, on_text: Callable[[str], object]) -> None:
        """Count who listens."""
        del on_text
        self.listeners += 1


class Before:
    """A policy that says the same of every question."""

    def __init__(self, word: Any = NO) -> None:
        self.word = word
        self.seen: list[Request] = []

    def before(self, request: Request) -> Any:
        """Say it."""
        self.seen.append(request)
        return self.word


class After:
    """A policy that says the same of every answer."""

    def __init__(self, word: Any = NO) -> None:
        self.word = word
        self.seen: list[str] = []

    def after(self, request: Request, answer: str) -> Any:
        """Say it."""
        del request
        self.seen.append(answer)
        return self.word


class Raising:
    """A policy that breaks."""

    def before(self, request: Request) -> Refusal | None:
        """Break."""
        raise RuntimeError(f"this breaks it: {request.conversation}")


class Hanging:
    """A policy that does not end until it is told to."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.calls = 0

    def before(self, request: Request) -> Refusal | None:
        """Hang."""
        del request
        self.calls += 1
        self.over.wait(PATIENCE_S)
        return None


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    """Such a policy, which ends with the test."""
    made = Hanging()
    yield made
    made.over.set()


def guard(policy: Policy, timeout_s: float = 5, at_once: int = 4) -> Guard:
    """A guard of a policy."""
    return Guard(policy, timeout_s, at_once)


def request(*texts: str) -> Request:
    """A question, turn by turn, with a picture in the first."""
    turns = [EngineTurn("user", (text,)) for text in texts]
    shown = EngineTurn("user", (Picture(b"pixels"), *turns[0].parts))
    return Request((shown, *turns[1:]), "acme")


@pytest.fixture
def work(client: Any, ledger: Ledger) -> Callable[[Guard | None, Engine], None]:
    """Has the next job answered by an engine, under a guard."""

    def run(guard: Guard | None, engine: Engine) -> None:
        leases = Leases(ledger, MODEL, "w1", 1_000, dict)
        parts = (ledger, ImageStore(client), engine, leases, Narrator(Pieces(client)))
        Desk(*parts, MODEL, "w1", lambda: None, guard=guard).answer_next()

    return run


Work = Callable[[Guard | None, Engine], None]


def how(job: Job) -> tuple[str, str | None, Any]:
    """How a job ended."""
    return job.status.value, job.reason.value if job.reason else None, job.error


REFUSED = ("failed", "refused", {"code": "refused", "message": NO.message, "rule": NO.rule})


def test_a_question_that_is_refused_never_reaches_the_model(
    client: Any, ledger: Ledger, work: Work
) -> None:
    ImageStore(client).put("acme", "d" * 64, b"pixels")
    turns = (Turn("user", (ImagePart("d" * 64, 64, 48), "What is it?")),)
    job = ledger.submit(draft(conversation=Conversation(turns)))[0]
    policy, engine = Before(), Engine()

    work(guard(policy), engine)

    assert how(now(ledger, job)) == REFUSED
    assert engine.asked == []
    [seen] = policy.seen
    assert seen.scope == "acme"
    [turn] = seen.conversation
    assert (turn.role, turn.parts[1]) == ("user", "What is it?")
    assert [picture.data for picture in turn.pictures] == [b"pixels"]


def test_an_answer_that_is_refused_is_written_nowhere_and_has_its_cost(
    client: Any, ledger: Ledger, work: Work
) -> None:
    job_id = submitted(ledger)
    policy = After()

    work(guard(policy), Engine())

    job = ledger.get("acme", job_id)
    assert job is not None
    assert (how(job), job.answer) == (REFUSED, None)
    assert job.usage == {"prompt_tokens": 9, "cached_tokens": 0, "completion_tokens": 1}
    assert policy.seen == [SAID]
    assert SAID not in json.dumps(records(client))


def test_what_a_policy_lets_pass_is_answered(ledger: Ledger, work: Work) -> None:
    for policy in (Before(None), After(None), PrivacyPolicy()):
        job_id = submitted(ledger)
        work(guard(policy), Engine())
        job = ledger.get("acme", job_id)
        assert job is not None
        assert (job.status, job.answer) == ("succeeded", {"text": SAID, "finish_reason": "stop"})


@pytest.mark.parametrize("word", [None, NO], ids=["passes", "refused"])
def test_nobody_hears_an_answer_grow_that_is_still_to_be_judged(
    client: Any, ledger: Ledger, work: Work, word: Refusal | None
) -> None:
    for policy, listeners in ((After(word), 0), (Before(None), 1), (None, 1)):
        Pieces(client).listen("acme", submitted(ledger))
        engine = Engine()
        work(guard(policy) if policy else None, engine)
        assert engine.listeners == listeners


def test_a_job_that_asks_the_same_as_a_refused_one_is_refused_with_it_and_none_is_kept(
    ledger: Ledger, work: Work
) -> None:
    leader, follower = asked(ledger), asked(ledger)
    assert now(ledger, follower).deduplicated_from == leader.id

    work(guard(After()), Engine())

    assert [how(now(ledger, job)) for job in (leader, follower)] == [REFUSED, REFUSED]
    again = asked(ledger)
    assert (again.status, again.deduplicated_from) == ("queued", None)
    work(guard(After(None)), Engine())
    assert now(ledger, again).status == "succeeded"


@pytest.mark.parametrize(
    "policy",
    [Raising(), Before("no"), Before(True), After("no"), After(False)],
    ids=["raises", "text", "true", "text after", "false"],
)
def test_a_policy_that_does_not_judge_fails_closed_after_as_many_tries_as_there_are(
    new_ledger: Callable[..., Ledger], work: Work, policy: Policy
) -> None:
    ledger = new_ledger(attempts=5)
    job_id = submitted(ledger)
    engine = Engine()

    work(guard(policy), engine)

    job = ledger.get("acme", job_id)
    assert job is not None
    assert (job.status, job.answer, job.attempts[0].outcome) == ("queued", None, "retried")


def test_the_last_try_that_was_not_judged_fails_the_job(
    client: Any, new_ledger: Callable[..., Ledger]
) -> None:
    ledger = new_ledger(attempts=1)
    job_id = submitted(ledger)
    leases = Leases(ledger, MODEL, "w1", 1_000, dict)
    parts = (ledger, ImageStore(client), Engine(), leases, Narrator(Pieces(client)))

    Desk(*parts, MODEL, "w1", lambda: None, guard=guard(Raising())).answer_next()

    job = ledger.get("acme", job_id)
    assert job is not None
    error = {"code": PolicyFailed.code, "message": PolicyFailed.message}
    assert (how(job), job.answer) == (("failed", "error", error), None)


def test_a_policy_that_hangs_is_waited_for_no_longer_than_it_may_take(hanging: Hanging) -> None:
    slow = guard(hanging, timeout_s=0.05, at_once=2)
    for _ in range(4):
        with pytest.raises(PolicyFailed):
            slow.before(request("What is it?"))
    assert hanging.calls == 2, "no more threads hang than may"
    hanging.over.set()
    patient = guard(hanging)
    assert patient.before(request("What is it?")) is None


def settings(policy: str) -> Settings:
    """The settings of a worker with a policy."""
    return Settings(policy=policy)


def test_without_a_setting_there_is_no_policy() -> None:
    assert load_guard(Settings()) is None


def test_a_policy_is_loaded_by_its_name() -> None:
    loaded = load_guard(settings("examples.policy:PrivacyPolicy"))
    assert loaded is not None
    assert loaded.judges_answers
    assert loaded.before(request("Who is this man?")) is not None


@pytest.mark.parametrize(
    "name",
    [
        "examples.policy",
        ":PrivacyPolicy",
        "examples.policy:",
        "examples.nothing:PrivacyPolicy",
        "examples.policy:Nothing",
        "examples.policy:Iterator",
        "builtins:dict",
        "worker.policy:Guard",
    ],
)
def test_a_policy_that_cannot_be_loaded_stops_the_worker_with_the_cure(name: str) -> None:
    with pytest.raises(ConfigurationError, match="LLAVA_JOBS_POLICY"):
        load_guard(settings(name))


@pytest.mark.parametrize(
    ("rule", "message"), [("No!", "No."), ("", "No."), ("no", ""), ("no", "N" * 301)]
)
def test_a_refusal_is_a_code_and_a_sentence(rule: str, message: str) -> None:
    with pytest.raises(ValueError, match="a refusal's"):
        Refusal(rule, message)


def test_an_answer_of_before_a_policy_is_not_given_in_the_place_of_a_judged_one() -> None:
    assert Settings().revision == "main"
    assert settings("examples.policy:PrivacyPolicy").revision != "main"


@pytest.mark.parametrize(
    ("question", "rule"),
    [
        ("Who is this man?", "person"),
        ("who's the woman on the left", "person"),
        ("Who is she?", "person"),
        ("Please identify the person in the picture.", "person"),
        ("Whose face is this, which person?", "person"),
        ("照片里的这个人是谁？", "person"),
        ("她是谁？", "person"),
        ("Read the card number.", "card_asked"),
        ("What is the CVV?", "card_asked"),
        ("卡号是多少？", "card_asked"),
        ("What is the error code?", None),
        ("Who makes this device?", None),
        ("How many people are there?", None),
        ("Is the SD card in its slot?", None),
        ("错误代码是多少？", None),
    ],
)
def test_the_example_refuses_what_asks_for_people_and_cards(
    question: str, rule: str | None
) -> None:
    refusal = PrivacyPolicy().before(request("What is it?", question))
    assert (refusal.rule if refusal else None) == rule
    earlier = PrivacyPolicy().before(request(question, "And now?"))
    assert (earlier.rule if earlier else None) == rule


@pytest.mark.parametrize(
    ("answer", "is_told"),
    [
        ("The card says 4111 1111 1111 1111.", False),
        ("5500-0000-0000-0004", False),
        ("It is 378282246310005", False),
        ("4111111111111112", True),
        ("The code is E42.", True),
        ("4111 1111 1111", True),
        ("41111111111111111111111111", True),
        ("There are 5 buttons.", True),
    ],
)
def test_the_example_keeps_back_what_has_the_checksum_of_a_card(answer: str, is_told: bool) -> None:
    assert (PrivacyPolicy().after(request("What?"), answer) is None) == is_told
