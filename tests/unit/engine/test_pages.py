"""The pages of the cache: no page has two owners, and a prompt finds its own beginning alone."""

import random

import pytest

from worker.engine.batch.pages import Pages

SIZE = 4


def ids(first: int, tokens: int) -> list[int]:
    return [first, *range(tokens - 1)]


def finish(pages: Pages, prompt: list[int], given: list[int]) -> None:
    pages.remember(prompt, given)
    pages.give_back(given)


def test_page_0_is_never_given_away() -> None:
    pages = Pages(6, SIZE)
    given, _ = pages.take(ids(1, 5), 6 * SIZE)
    assert sorted(given) == [1, 2, 3, 4, 5, 6]
    assert pages.free == 0


def test_the_last_token_of_a_prompt_is_always_left_to_read() -> None:
    pages = Pages(6, SIZE)
    prompt = ids(1, 2 * SIZE)
    given, _ = pages.take(prompt, 2 * SIZE)
    finish(pages, prompt, given)
    assert pages.match(prompt) == given[:1]
    assert pages.match([*prompt, 9]) == given


def test_a_page_is_found_only_behind_the_pages_that_it_followed() -> None:
    pages = Pages(12, SIZE)
    one, other = ids(1, 3 * SIZE), ids(2, 3 * SIZE)
    given, _ = pages.take(one, 3 * SIZE)
    finish(pages, one, given)
    assert one[SIZE:] == other[SIZE:]
    assert pages.match(other) == []


def test_requests_with_the_same_beginning_share_its_pages_while_they_run() -> None:
    pages = Pages(12, SIZE)
    prompt = ids(1, 2 * SIZE + 1)
    first, _ = pages.take(prompt, 3 * SIZE)
    pages.remember(prompt, first)
    second, shared = pages.take(prompt, 3 * SIZE)
    assert shared == 2
    assert second[:2] == first[:2]
    assert second[2] != first[2]
    pages.give_back(first)
    assert pages.match(prompt) == second[:2]


def test_two_that_read_the_same_at_once_keep_their_own_pages() -> None:
    pages = Pages(12, SIZE)
    prompt = ids(1, 2 * SIZE + 1)
    given = [pages.take(prompt, 3 * SIZE)[0] for _ in range(2)]
    for mine in given:
        finish(pages, prompt, mine)
    assert pages.match(prompt) == given[0][:2]
    assert pages.empty == 10


def test_forgetting_leaves_running_requests_their_pages() -> None:
    pages = Pages(8, SIZE)
    running, _ = pages.take(ids(1, SIZE + 1), 2 * SIZE)
    ended, _ = pages.take(ids(2, SIZE + 1), 2 * SIZE)
    pages.remember(ids(1, SIZE + 1), running)
    finish(pages, ids(2, SIZE + 1), ended)
    pages.forget()
    assert pages.match(ids(1, SIZE + 1)) == pages.match(ids(2, SIZE + 1)) == []
    assert pages.empty == 6
    pages.give_back(running)
    assert pages.empty == 8


@pytest.mark.parametrize("seed", range(20))
def test_whatever_comes_and_goes_no_page_is_given_twice_or_lost(seed: int) -> None:
    rng = random.Random(seed)
    pages = Pages(20, SIZE)
    running: list[tuple[list[int], list[int], int]] = []
    held: dict[int, list[int]] = {}
    for _ in range(400):
        prompt = ids(rng.randrange(3), rng.randrange(1, 4 * SIZE))
        total = len(prompt) + rng.randrange(1, 2 * SIZE)
        if rng.random() < 0.5 and pages.needed(total) <= pages.free:
            given, shared = pages.take(prompt, total)
            assert 0 not in given
            assert len(given) == pages.needed(total)
            for place, page in enumerate(given):
                if page in held:  # only for the same tokens behind the same tokens
                    assert place < shared
                    assert held[page] == prompt[: (place + 1) * SIZE]
            for place, page in enumerate(given):
                held[page] = prompt[: (place + 1) * SIZE] if place < len(prompt) // SIZE else []
            pages.remember(prompt, given)
            running.append((prompt, given, shared))
        elif running:
            prompt, given, _ = running.pop(rng.randrange(len(running)))
            finish(pages, prompt, given)
            still = {page for _, others, _ in running for page in others}
            held = {page: tokens for page, tokens in held.items() if page in still}
        assert pages.free + len(held) == pages.count
    for prompt, given, _ in running:
        finish(pages, prompt, given)
    assert pages.free == pages.count
    pages.forget()
    assert pages.empty == pages.count
