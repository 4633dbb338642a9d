"""Every program under examples/, against a whole installation and helpdesks on loopback."""

import csv
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from examples.helpdesk.pictures import MOST_BYTES
from llava_jobs.demo import PICTURES
from tests import helpdesks
from tests.eventually import PATIENCE_S, eventually
from tests.installations import (
    Installation,
    Running,
    caller,
    ended,
    environment,
    free_port,
    submit,
)
from tests.integration.conftest import TRUTHS
from tests.unit.test_imports import imported

ROOT = Path(__file__).parents[2]
README = (ROOT / "examples" / "helpdesk" / "README.md").read_text()
BLOCKS = dict(re.findall(r"<!-- tested: ([\w-]+) -->\n```sh\n(.+?)```", README, re.DOTALL))
PROGRAMS = {path for path in (ROOT / "examples").rglob("*.py") if path.name != "__init__.py"}
BULK, TWO_TURNS = "examples.bulk_folder", "examples.two_turns"
RECEIVER, POLICY = "examples.helpdesk.app", "examples.policy"
PICTURE = (PICTURES / "landscape.jpg").read_bytes()
SECOND = next(truth for truth in TRUTHS if truth["question"] == "What color is the indicator?")


def path_of(module: str) -> Path:
    """Where a module of ours is, if there is one."""
    return ROOT / f"{module.replace('.', '/')}.py"


def test_every_example_is_run_by_a_test() -> None:
    assert RECEIVER in BLOCKS["receiver"]
    assert POLICY in imported(ROOT / "tests" / "policies.py")
    run, new = set[str](), {BULK, TWO_TURNS, RECEIVER, POLICY}
    while new:
        run |= new
        names = {name for module in new for name in imported(path_of(module))}
        new = {name for name in names if path_of(name) in PROGRAMS} - run
    assert {path_of(module) for module in run} == PROGRAMS


def example(installation: Installation, module: str, *arguments: str) -> str:
    """Run an example to its end; what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env=environment(url=installation.url, api_key=installation.key),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_conversation_of_two_turns(guarded: Installation) -> None:
    questions = ("What is the error code?", SECOND["question"])
    said = example(guarded, TWO_TURNS, str(PICTURES / "landscape.jpg"), *questions)
    assert said.splitlines() == ["The code is E42.", SECOND["answer"]]


def test_a_folder_is_answered_into_a_csv_and_a_repeat_goes_on(
    guarded: Installation, tmp_path: Path
) -> None:
    pictures, out = tmp_path / "pictures", tmp_path / "answers.csv"
    pictures.mkdir()
    for name in ("landscape.jpg", "portrait.jpg", "square.png"):
        shutil.copy(PICTURES / name, pictures)
    (pictures / "notes.txt").write_text("no picture")
    words = (BULK, str(pictures), str(out), "What is the error code?")

    assert example(guarded, *words) == "3 asked\n"
    with out.open(newline="") as rows:
        answers = {name: (status, said) for name, status, said in csv.reader(rows)}
    assert set(answers) == {"landscape.jpg", "portrait.jpg", "square.png"}
    assert answers["landscape.jpg"] == ("succeeded", "The code is E42.")

    out.write_text("".join(out.read_text().splitlines(keepends=True)[:-1]))
    assert example(guarded, *words) == "1 asked\n"
    assert example(guarded, *words) == "0 asked\n"


@dataclass
class Desk:
    """The receiver as its README starts it, and what stands around it."""

    url: str
    zendesk: helpdesks.Zendesk
    chatwoot: helpdesks.Chatwoot
    storage: helpdesks.Storage
    jobs: httpx.Client
    webhook: Webhook

    def jobs_of(self, group: str) -> list[dict[str, Any]]:
        """The jobs that were submitted for a ticket."""
        found: list[dict[str, Any]] = self.jobs.get("/v1/jobs", params={"group": group}).json()[
            "data"
        ]
        return found

    def told(self, job_id: str) -> list[dict[str, Any]]:
        """How the receiver was told of a job's end, attempt by attempt."""
        [delivery] = self.jobs.get(f"/v1/jobs/{job_id}/deliveries").json()["data"]
        attempts: list[dict[str, Any]] = delivery["attempts"]
        return attempts

    def tell_at_once(self, job: dict[str, Any], times: int) -> list[int]:
        """Tell of a job's end as llava-jobs does, in many requests at once; their statuses."""
        body = json.dumps({name: job[name] for name in ("id", "status", "group", "metadata")})
        at = datetime.now(UTC)
        headers = {
            "webhook-id": "msg_1",
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": self.webhook.sign("msg_1", at, body),
        }

        def tell(_: int) -> int:
            url = f"{self.url}/answers"
            return httpx.post(url, content=body, headers=headers, timeout=15).status_code

        with ThreadPoolExecutor(times) as pool:
            return list(pool.map(tell, range(times)))

    def tell_again(self, job_id: str, status_code: int = 200) -> None:
        """Have the receiver told of a job's end once more, to which it answers so."""
        before = len(self.told(job_id))
        self.jobs.post(f"/v1/jobs/{job_id}/deliveries").raise_for_status()
        eventually(lambda: len(self.told(job_id)) > before, "it is told again")
        assert self.told(job_id)[-1]["status_code"] == status_code


@pytest.fixture(scope="module")
def desk(guarded: Installation) -> Iterator[Desk]:
    """A receiver between that installation and two helpdesks."""
    storage = helpdesks.Storage()
    zendesk, chatwoot = helpdesks.Zendesk(storage), helpdesks.Chatwoot(storage)
    with ExitStack() as stack:
        for place in (storage, zendesk, chatwoot):
            place.url = stack.enter_context(helpdesks.served(place.app()))
        jobs = stack.enter_context(caller(guarded.url, guarded.key))
        url = f"http://127.0.0.1:{free_port()}"
        secret = jobs.post("/v1/webhooks/secret").json()["secret"]
        settings = {
            "HELPDESK_JOBS_URL": guarded.url,
            "HELPDESK_JOBS_KEY": guarded.key,
            "HELPDESK_JOBS_WEBHOOK_SECRET": secret,
            "HELPDESK_PUBLIC_URL": url,
            "HELPDESK_ZENDESK_URL": zendesk.url,
            "HELPDESK_ZENDESK_EMAIL": helpdesks.EMAIL,
            "HELPDESK_ZENDESK_TOKEN": helpdesks.TOKEN,
            "HELPDESK_ZENDESK_SECRET": helpdesks.SECRET,
            "HELPDESK_CHATWOOT_URL": chatwoot.url,
            "HELPDESK_CHATWOOT_ACCOUNT": str(helpdesks.ACCOUNT),
            "HELPDESK_CHATWOOT_TOKEN": helpdesks.TOKEN,
            "HELPDESK_CHATWOOT_SECRET": helpdesks.SECRET,
        }
        block = BLOCKS["receiver"].replace("127.0.0.1:8100", url.removeprefix("http://"))
        path = f"{Path(sys.executable).parent}:{environment()['PATH']}"
        command = ["bash", "-euc", f"cd {ROOT}; exec {block}"]
        receiver = Running(command, {**environment(), "PATH": path, **settings})
        stack.callback(receiver.end)
        receiver.line("Booting worker")
        yield Desk(url, zendesk, chatwoot, storage, jobs, Webhook(secret))


def test_the_readmes_first_command_starts_llava_jobs_as_it_is_started_here() -> None:
    words = BLOCKS["llava-jobs"].split()
    assert words == [
        "LLAVA_JOBS_WEBHOOK_NETWORKS=127.0.0.0/8",
        "LLAVA_JOBS_WEBHOOK_HTTP_HOSTS=127.0.0.1",
        "llava-jobs",
        "up",
    ]


ANSWER = "The code is E42.\n\n[llava-jobs: pictures of comment {}]"


def test_a_zendesk_comment_gets_one_note_however_often_anything_is_told(desk: Desk) -> None:
    comment = desk.zendesk.write(7, "It shows this", pictures=(PICTURE,))
    desk.zendesk.loses = 1  # the note is written, and the receiver does not hear of it

    first = desk.zendesk.tell(desk.url, 7, comment)
    assert first.status_code == 202, first.text
    job_id = first.json()["job"]
    eventually(lambda: desk.zendesk.notes(7), "the note")
    assert desk.zendesk.notes(7) == [ANSWER.format(comment)]
    eventually(lambda: desk.told(job_id), "the receiver's answer is noted")
    assert desk.told(job_id)[0]["status_code"] == 503

    for number in range(3):
        desk.zendesk.write(7, f"And another thing ({number})")
    desk.tell_again(job_id)
    desk.tell_again(job_id)
    assert desk.zendesk.tell(desk.url, 7, comment).json() == {"job": job_id}
    assert desk.zendesk.notes(7) == [ANSWER.format(comment)]
    assert [job["id"] for job in desk.jobs_of("zendesk-7")] == [job_id]
    assert desk.storage.leaks == []


def test_a_chatwoot_message_gets_one_note_however_often_anything_is_told(desk: Desk) -> None:
    message = desk.chatwoot.write(85, "Look at this")
    first = desk.chatwoot.tell(desk.url, 85, message, pictures=(PICTURE,))
    assert first.status_code == 202, first.text
    job_id = first.json()["job"]
    eventually(lambda: desk.chatwoot.notes(85), "the note")

    for number in range(3):
        desk.chatwoot.write(85, f"And another thing ({number})")
    desk.tell_again(job_id)
    again = desk.chatwoot.tell(desk.url, 85, message, pictures=(PICTURE,))
    assert again.json() == {"job": job_id}
    # Two that read at once, and only then write, would both find no note.
    desk.chatwoot.meeting = threading.Barrier(2, timeout=0.5)
    desk.chatwoot.messages[85] = [m for m in desk.chatwoot.messages[85] if not m["private"]]
    assert desk.tell_at_once(desk.jobs.get(f"/v1/jobs/{job_id}").json(), 6) == [200] * 6
    assert desk.chatwoot.notes(85) == [ANSWER.format(message)]
    assert desk.storage.leaks == []


def test_what_llava_jobs_cannot_read_is_not_told_again(desk: Desk) -> None:
    comment = desk.zendesk.write(8, "Unreadable", pictures=(b"no picture",))
    told = desk.zendesk.tell(desk.url, 8, comment)
    assert (told.status_code, told.json()) == (200, {"asked": "nothing: there is no picture"})
    assert desk.jobs_of("zendesk-8") == []


def test_a_job_without_an_answer_is_noted_with_its_reason_and_one_that_is_gone_is_not(
    desk: Desk,
) -> None:
    def ended_with(question: str, ticket: int) -> dict[str, Any]:
        comment = desk.zendesk.write(ticket, "It shows this", pictures=(PICTURE,))
        metadata = {"helpdesk": "zendesk", "ticket": ticket, "comment": comment}
        fields = {"question": question, "metadata": json.dumps(metadata)}
        return ended(desk.jobs, submit(desk.jobs, PICTURE, **fields)["id"])

    refused = ended_with("What is the card number?", 11)
    assert desk.tell_at_once(refused, 1) == [200]
    [note] = desk.zendesk.notes(11)
    assert note.startswith("This service does not read card numbers.")

    erased = ended_with("What is the error code?", 12)
    desk.jobs.delete(erased["links"]["self"]).raise_for_status()
    assert desk.tell_at_once(erased, 1) == [200]
    assert desk.zendesk.notes(12) == []


def test_a_picture_that_is_too_large_is_left_out_and_the_rest_is_asked_about(desk: Desk) -> None:
    message = desk.chatwoot.write(86, "Look at these")
    pictures = (b"\0" * (MOST_BYTES + 1), PICTURE)
    told = desk.chatwoot.tell(desk.url, 86, message, pictures=pictures)
    assert told.status_code == 202, told.text
    assert ended(desk.jobs, told.json()["job"])["answer"]["text"] == "The code is E42."


def test_what_is_no_customers_picture_is_not_asked_about(desk: Desk) -> None:
    plain = desk.zendesk.write(9, "No picture")
    note = desk.zendesk.write(9, "A note", public=False, pictures=(PICTURE,))
    message = desk.chatwoot.write(90, "Hello")
    shown: dict[str, Any] = {"pictures": (PICTURE,)}
    unlike: list[dict[str, Any]] = [
        {},
        {**shown, "message_type": "outgoing"},
        {**shown, "private": True},
        {**shown, "event": "message_updated"},
        {**shown, "account": {"id": 99}},
    ]
    answers = [desk.zendesk.tell(desk.url, 9, comment) for comment in (plain, note)]
    answers += [desk.chatwoot.tell(desk.url, 90, message, **changes) for changes in unlike]
    assert {answer.status_code for answer in answers} == {200}
    assert desk.jobs_of("zendesk-9") + desk.jobs_of("chatwoot-90") == []


def test_pictures_elsewhere_are_not_fetched(desk: Desk) -> None:
    message = desk.chatwoot.write(91, "Hello")
    inside = desk.storage.keep("secret", PICTURE)
    attachment = {"id": 1, "file_type": "image", "data_url": inside}
    told = desk.chatwoot.tell(desk.url, 91, message, attachments=[attachment])
    assert told.json() == {"asked": "nothing: there is no picture"}


def test_what_is_not_signed_or_of_another_shape_is_refused(desk: Desk) -> None:
    comment = desk.zendesk.write(10, "It shows this", pictures=(PICTURE,))
    for untrue in ({"secret": "other"}, {"age_s": 400}, {"age_s": -400}):
        changes: dict[str, Any] = untrue
        assert desk.zendesk.tell(desk.url, 10, comment, **changes).status_code == 401
        assert desk.chatwoot.tell(desk.url, 95, 1, **changes).status_code == 401
    for path in ("/comments/zendesk", "/comments/chatwoot", "/answers"):
        assert httpx.post(f"{desk.url}{path}", json={"id": "job_1"}).status_code == 401
    assert desk.chatwoot.tell(desk.url, 95, 1, account=None).status_code == 400
    assert httpx.post(f"{desk.url}/comments/freshdesk", json={}).status_code == 404
    assert desk.jobs_of("zendesk-10") == []
