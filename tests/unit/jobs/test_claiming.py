"""Which job comes next: class by weight, tenant by turn, then age."""

from collections import Counter

from jobs.job import Priority, Status
from jobs.ledger import Ledger
from tests.ledgers import MODEL, Clock, claimed, draft, status_of, submitted


def test_an_empty_queue_has_nothing_to_claim(ledger: Ledger) -> None:
    assert ledger.claim(MODEL, "w1") is None


def test_a_job_of_another_model_is_not_claimed(ledger: Ledger) -> None:
    submitted(ledger, model="another")
    assert ledger.claim(MODEL, "w1") is None


def test_a_claim_starts_an_attempt_under_the_workers_name(ledger: Ledger, clock: Clock) -> None:
    job_id = submitted(ledger)
    clock.forward(500)

    claim = claimed(ledger, "w7")

    job = ledger.get("acme", job_id)
    assert job == claim.job
    assert (job.status, job.started_at) == (Status.PROCESSING, clock.now)
    [attempt] = job.attempts
    assert (attempt.number, attempt.worker, attempt.started_at) == (1, "w7", clock.now)
    assert (attempt.ended_at, attempt.outcome) == (None, None)


def test_every_claim_has_a_fencing_token_above_all_before(ledger: Ledger) -> None:
    for _ in range(5):
        submitted(ledger)
    fences = [claimed(ledger).fence for _ in range(5)]
    assert fences == sorted(set(fences))


def test_of_twelve_claims_eight_are_high_three_normal_and_one_low(ledger: Ledger) -> None:
    for priority in Priority:
        for _ in range(24):
            submitted(ledger, priority=priority)
    for _ in range(3):
        twelve = Counter(str(claimed(ledger).job.priority) for _ in range(12))
        assert twelve == {"high": 8, "normal": 3, "low": 1}


def test_low_waits_for_eleven_others_at_most_however_many_high_come(ledger: Ledger) -> None:
    for _ in range(12):
        submitted(ledger, priority=Priority.HIGH)
    low = {submitted(ledger, priority=Priority.LOW) for _ in range(3)}
    passed_by = 0
    while low:
        submitted(ledger, priority=Priority.HIGH)
        job = claimed(ledger).job
        passed_by = 0 if job.id in low else passed_by + 1
        low.discard(job.id)
        assert passed_by <= 11


def test_weights_are_shared_only_between_classes_that_wait(ledger: Ledger) -> None:
    for priority in (Priority.NORMAL, Priority.LOW):
        for _ in range(8):
            submitted(ledger, priority=priority)
    four = Counter(str(claimed(ledger).job.priority) for _ in range(4))
    assert four == {"normal": 3, "low": 1}


def test_a_class_that_was_empty_has_saved_up_no_turns(ledger: Ledger) -> None:
    for _ in range(40):
        submitted(ledger, priority=Priority.HIGH)
    for _ in range(20):
        claimed(ledger)
    for _ in range(20):
        submitted(ledger, priority=Priority.LOW)
    nine = Counter(str(claimed(ledger).job.priority) for _ in range(9))
    assert nine == {"high": 8, "low": 1}


def test_within_a_class_tenants_take_turns_however_much_one_has_queued(ledger: Ledger) -> None:
    for _ in range(9):
        submitted(ledger, "flood")
    for _ in range(3):
        submitted(ledger, "b")
        submitted(ledger, "c")
    for _ in range(3):
        assert {claimed(ledger).job.tenant for _ in range(3)} == {"flood", "b", "c"}
    assert [claimed(ledger).job.tenant for _ in range(6)] == ["flood"] * 6


def test_a_tenant_that_joins_waits_for_one_round_and_no_longer(ledger: Ledger) -> None:
    for _ in range(5):
        submitted(ledger, "b")
        submitted(ledger, "c")
    claimed(ledger)
    first_in_line = "c"
    submitted(ledger, "a")
    three = [claimed(ledger).job.tenant for _ in range(3)]
    assert three[0] == first_in_line
    assert sorted(three) == ["a", "b", "c"]


def test_a_tenant_that_asks_one_by_one_takes_no_more_than_its_turn(ledger: Ledger) -> None:
    for _ in range(6):
        submitted(ledger, "z")
    submitted(ledger, "a")
    order = []
    for _ in range(6):
        order.append(claimed(ledger).job.tenant)
        if order[-1] == "a":
            submitted(ledger, "a")
    assert Counter(order) == {"a": 3, "z": 3}


def test_tenants_take_turns_in_each_class_by_itself(ledger: Ledger) -> None:
    for priority in (Priority.HIGH, Priority.NORMAL):
        for tenant in ("a", "b"):
            for _ in range(11):
                submitted(ledger, tenant, priority=priority)
    claims = [claimed(ledger).job for _ in range(22)]
    for priority in (Priority.HIGH, Priority.NORMAL):
        share = Counter(job.tenant for job in claims if job.priority is priority)
        assert abs(share["a"] - share["b"]) <= 1


def test_within_a_tenant_the_oldest_comes_first(ledger: Ledger) -> None:
    jobs = [submitted(ledger) for _ in range(5)]
    assert [claimed(ledger).job.id for _ in range(5)] == jobs


def test_a_job_that_was_handed_back_keeps_its_place(ledger: Ledger) -> None:
    jobs = [submitted(ledger) for _ in range(3)]
    ledger.hand_back(claimed(ledger))
    assert [claimed(ledger).job.id for _ in range(3)] == jobs


def test_claims_pass_by_jobs_that_are_past_their_deadline_and_end_them(
    ledger: Ledger, clock: Clock
) -> None:
    late = [submitted(ledger, deadline_ms=1_000) for _ in range(3)]
    good = submitted(ledger)
    clock.forward(1_000)

    assert claimed(ledger).job.id == good

    assert {status_of(ledger, job_id) for job_id in late} == {("failed", "deadline")}


def test_claims_pass_by_jobs_that_were_canceled(ledger: Ledger) -> None:
    canceled, good = submitted(ledger), submitted(ledger)
    ledger.cancel("acme", canceled)
    assert claimed(ledger).job.id == good
    assert ledger.claim(MODEL, "w1") is None


def test_two_workers_never_get_the_same_job(ledger: Ledger) -> None:
    jobs = [submitted(ledger) for _ in range(10)]
    claims = [claimed(ledger, f"w{n % 3}").job.id for n in range(10)]
    assert sorted(claims) == sorted(jobs)
    assert ledger.claim(MODEL, "w1") is None


def test_a_position_says_how_many_claims_until_a_job_is_claimed(ledger: Ledger) -> None:
    for _ in range(6):
        submitted(ledger, "flood")
    last, _ = ledger.submit(draft("b"))
    position = ledger.position(last)
    claims = 1
    while claimed(ledger).job.id != last.id:
        claims += 1
    assert claims <= position <= 3


def test_the_position_of_a_lone_tenants_job_is_its_place_in_line(ledger: Ledger) -> None:
    jobs = [ledger.submit(draft())[0] for _ in range(3)]
    assert [ledger.position(job) for job in jobs] == [1, 2, 3]
