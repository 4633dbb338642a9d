"""Who is given what there is too little of."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from api.http.fair_semaphore import Crowded, FairSemaphore
from tests.eventually import eventually

LONG_S = 60.0


@pytest.fixture
def semaphore() -> FairSemaphore:
    return FairSemaphore(3, of_one=2, waiting=5, waiting_of_one=3)


@pytest.fixture
def wait_in_line(semaphore: FairSemaphore) -> Iterator[Callable[..., None]]:
    """Has tenants wait, each in a thread, in the order in which they are named."""
    threads: list[threading.Thread] = []

    def begin(tenant: str, order: list[str], units: int = 1) -> None:
        def one() -> None:
            semaphore.acquire(tenant, units, timeout_s=LONG_S)
            order.append(tenant)

        before = semaphore.waiting
        threads.append(threading.Thread(target=one))
        threads[-1].start()
        eventually(lambda: semaphore.waiting > before, "one more waits")

    yield begin
    for thread in threads:
        thread.join(LONG_S)


def take(semaphore: FairSemaphore, *tenants: str, units: int = 1) -> None:
    """Have tenants hold units that are free."""
    for tenant in tenants:
        semaphore.acquire(tenant, units, timeout_s=0)


def told(semaphore: FairSemaphore, tenant: str, units: int = 1) -> bool:
    """Whether what cannot be had at once is said to be the tenant's own share."""
    with pytest.raises(Crowded) as refused:
        semaphore.acquire(tenant, units, timeout_s=0)
    return refused.value.own


def test_tenants_take_turns_however_many_of_one_wait(
    semaphore: FairSemaphore, wait_in_line: Callable[..., None]
) -> None:
    order: list[str] = []
    take(semaphore, "a", "a", "b")
    for tenant in ("a", "a", "a", "c", "b"):
        wait_in_line(tenant, order)
    for turn, released in enumerate("aabca", start=1):
        semaphore.release(released)
        eventually(lambda: len(order) == turn, "somebody has a turn")  # noqa: B023
    assert order == ["a", "c", "b", "a", "a"]


def test_one_tenant_leaves_some_to_others(semaphore: FairSemaphore) -> None:
    take(semaphore, "a", "a")
    assert told(semaphore, "a"), "its own share is used up"
    take(semaphore, "b")
    assert not told(semaphore, "c"), "all is used up"


def test_what_is_released_can_be_had_again(semaphore: FairSemaphore) -> None:
    for _ in range(3):
        with semaphore.held("a", 2, timeout_s=0):
            assert told(semaphore, "a")
    take(semaphore, "a", "a", "b")


def test_of_one_tenant_and_of_all_only_so_many_wait(
    semaphore: FairSemaphore, wait_in_line: Callable[..., None]
) -> None:
    order: list[str] = []
    take(semaphore, "a", "a", "b")
    for tenant in ("a", "a", "a"):
        wait_in_line(tenant, order)
    with pytest.raises(Crowded) as refused:
        semaphore.acquire("a", timeout_s=LONG_S)
    assert refused.value.own
    for tenant in ("b", "c"):
        wait_in_line(tenant, order)
    with pytest.raises(Crowded) as refused:
        semaphore.acquire("d", timeout_s=LONG_S)
    assert not refused.value.own
    for tenant in "aabcbaa":
        semaphore.release(tenant)
    eventually(lambda: len(order) == 5, "nobody is forgotten")


def test_whoever_wants_much_is_not_overtaken(
    semaphore: FairSemaphore, wait_in_line: Callable[..., None]
) -> None:
    order: list[str] = []
    take(semaphore, "a", "b")
    wait_in_line("c", order, units=3)
    wait_in_line("d", order)
    semaphore.release("a")
    assert not told(semaphore, "e"), "one more would have fitted"
    semaphore.release("b")
    eventually(lambda: order == ["c"], "all is given to the first")
    semaphore.release("c", 3)
    eventually(lambda: order == ["c", "d"], "then to the next")


def test_whoever_gives_up_holds_up_nobody(
    semaphore: FairSemaphore, wait_in_line: Callable[..., None]
) -> None:
    order: list[str] = []
    take(semaphore, "a", "b")
    impatient = threading.Thread(target=lambda: told(semaphore, "c", units=3))
    impatient.start()
    impatient.join()
    take(semaphore, "d")
    wait_in_line("e", order)
    semaphore.release("a")
    eventually(lambda: order == ["e"], "the next one had its turn")


def test_more_than_there_is_can_be_had_while_nobody_holds_any(semaphore: FairSemaphore) -> None:
    take(semaphore, "a", units=9)
    assert not told(semaphore, "b")
    semaphore.release("a", 9)
    take(semaphore, "b")
