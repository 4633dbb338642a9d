"""Whatever was done with it, a store that is left alone until all retentions are over is empty."""

from __future__ import annotations

from random import Random
from typing import Any

from jobs.batches import Batches, Written
from jobs.deliveries import Deliveries, Verdict
from jobs.files import Files
from jobs.image_store import ImageStore
from jobs.job import Outcome, Reason, Status
from jobs.keys import Keys
from jobs.ledger import Ledger
from jobs.request import ImagePart
from jobs.scripts import PREFIX
from jobs.uploads import Uploads
from tests.ledgers import ANSWER, FAILURE, MODEL, Clock, asked, claimed, draft, submitted, webhook
from tests.leftovers import NUMBERS, OF_MODELS
from tests.unit.jobs.test_batches import begin, feed

DAY = 86_400_000
STAYS = {*NUMBERS, *(f"{family}:{MODEL}" for family in OF_MODELS), "keys"}
"""What has no lifetime: single numbers, what is counted of a model, and the list of API keys."""


class Load:
    """Callers, workers, receivers and a feeder of one installation, and its time."""

    def __init__(self, client: Any, ledger: Ledger, clock: Clock, seed: int) -> None:
        self.client, self.ledger, self.clock = client, ledger, clock
        self.rng = Random(seed)
        scripts = ledger.scripts
        self.files = Files(client, scripts, life_ms=DAY, most_bytes=10**6, most_of_tenant=10**7)
        self.batches = Batches(client, scripts)
        self.uploads = Uploads(client, scripts, DAY)
        self.images = ImageStore(client)
        self.deliveries = Deliveries(client, clock)
        self.keys = Keys(client, lambda: clock.now / 1000)
        self.jobs: list[str] = []

    def ask(self) -> None:
        """Submit a job: with a picture, a group, a webhook, a deadline, a key, or the like."""
        digest = f"{self.rng.randrange(5):064x}"
        fields: list[dict[str, Any]] = [
            {"images": (ImagePart(digest, 9, 9),), "pictures": {digest: b"pixels"}},
            {"group": "g", "supersede": self.rng.random() < 0.2},
            {"webhook": webhook(f"https://hook.test/{self.rng.randrange(9)}")},
            {"deadline_ms": 1_000},
            {"idempotency_key": str(self.rng.random()), "fingerprint": "f"},
            {"key": "abcdefgh"},
        ]
        self.jobs.append(submitted(self.ledger, **self.rng.choice(fields)))

    def ask_the_same(self) -> None:
        """Submit a job that follows another, or is answered from it."""
        self.jobs.append(asked(self.ledger).id)

    def work(self) -> None:
        """Have a worker take a job and answer it, fail it, hand it back, or die of it."""
        self.ledger.renew("w1", MODEL, {}, {})
        if claim := self.ledger.claim(MODEL, "w1"):
            ends = [
                lambda: self.ledger.finish(claim, ANSWER),
                lambda: self.ledger.finish(
                    claim, Outcome(Status.FAILED, Reason.ERROR, error=FAILURE)
                ),
                lambda: self.ledger.hand_back(claim),
                lambda: self.ledger.retry(claim, 1_000, FAILURE),
                lambda: None,
            ]
            self.rng.choice(ends)()

    def stop(self) -> None:
        """Cancel or erase a job."""
        if self.jobs:
            job_id = self.rng.choice(self.jobs)
            self.rng.choice([self.ledger.cancel, self.ledger.erase])("acme", job_id)

    def upload(self) -> None:
        """Send a picture, and now and then take it back."""
        digest = f"{self.rng.randrange(5):064x}"
        self.images.put("acme", digest, b"pixels")
        upload = self.uploads.add("acme", digest, 9, 9)
        if self.rng.random() < 0.5:
            self.uploads.discard("acme", upload.id)

    def batch(self) -> None:
        """Begin a batch, answer a line of it, and stop, fail or leave it."""
        self.images.put("acme", "d" * 64, b"pixels")
        batch = begin(self.batches, self.files)
        self.batches.validated(batch, 2)
        feed(self.ledger, batch, 1)
        self.work()
        for each in self.batches.ended(batch, 9)[1]:
            self.batches.write(batch, [Written(each.job_id, "output", "{}\n")])
        end = self.rng.choice(["cancel", "fail", "leave"])
        if end == "cancel":
            self.batches.cancel("acme", batch.id)
        elif end == "fail":
            self.batches.fail(batch, [{"code": "line_too_large"}])

    def tell(self) -> None:
        """Send webhooks to receivers of which some are dead and some gone."""
        for delivery in self.deliveries.claim(9, 1_000):
            verdict = self.rng.choice(list(Verdict))
            self.deliveries.note(delivery, 500, verdict, 60_000)

    def make_key(self) -> None:
        """Make a key for a minute, or one that is revoked."""
        key = self.keys.create("acme", expires_in_s=60)
        if self.rng.random() < 0.5:
            self.keys.revoke(key.split("_")[1])

    def let_pass(self) -> None:
        """Let time pass in which leases and deadlines run out."""
        self.clock.forward(self.rng.choice([10, 1_000, 31_000]))
        self.ledger.sweep()


def end(load: Load) -> None:
    """Let all retentions pass: by the ledger's clock, and for what has a lifetime by the store's.

    Batches that are open are ended, as a feeder does once their window is over.
    """
    for name in load.client.keys(f"{PREFIX}batch:*"):
        batch = load.batches.get("acme", name.decode().removeprefix(f"{PREFIX}batch:"))
        assert batch is not None
        load.batches.fail(batch, [{"code": "over"}])
    for _ in range(6):
        load.clock.forward(2 * DAY)
        load.deliveries.claim(1_000, 1, to_one_host=1_000, of_one_tenant=1_000)
        load.ledger.sweep(at_most=10_000)
    for name in load.client.keys(f"{PREFIX}key:*"):
        assert load.client.pttl(name) > 0
        load.client.delete(name)  # its month is over
    load.keys.list()


def test_after_all_retentions_nothing_is_left_but_what_is_named(
    client: Any, ledger: Ledger, clock: Clock, seed: int
) -> None:
    load = Load(client, ledger, clock, seed)
    steps = [load.ask, load.ask_the_same, load.work, load.work, load.stop, load.upload]
    steps += [load.batch, load.tell, load.make_key, load.let_pass]
    for _ in range(400):
        load.rng.choice(steps)()
    end(load)
    names = [name.decode().removeprefix(PREFIX) for name in client.keys(f"{PREFIX}*")]
    lasting = {name for name in names if client.pttl(f"{PREFIX}{name}") == -1}
    assert lasting - STAYS == set()
    # What has a lifetime has one that is known, and goes by it.
    months = {"key", "gone", "gone-since", "gone-tenants"}
    for name in set(names) - lasting:
        most = 32 if name.partition(":")[0] in months else 10
        assert client.pttl(f"{PREFIX}{name}") <= most * DAY, name
    # No job is left, nor anything of one, nor a picture that only jobs have shown.
    gone = {"job", "retained", "due", "leases", "delayed", "untold", "receivers", "shown", "jobs"}
    assert {name for name in names if name.partition(":")[0] in gone} == set()
    ledger.scripts.run("retire", MODEL, 30 * DAY)


def test_a_picture_that_only_jobs_have_shown_goes_with_the_last_of_them(
    client: Any, ledger: Ledger, clock: Clock
) -> None:
    picture = "a" * 64
    shown = draft(images=(ImagePart(picture, 9, 9),), pictures={picture: b"pixels"})
    ledger.submit(shown)
    ledger.finish(claimed(ledger), ANSWER)
    clock.forward(DAY)
    ledger.sweep()
    names = [name.decode().removeprefix(PREFIX) for name in client.keys(f"{PREFIX}*")]
    assert [name for name in names if "image" in name] == []
