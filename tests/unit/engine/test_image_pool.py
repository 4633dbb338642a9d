"""Ids are never given twice, and the rows of a picture in use are never overwritten."""

from hypothesis import given, settings
from hypothesis import strategies as st

from worker.engine.vision.image_pool import Extent, ImagePool

V = 1000


def pool(rows: int = 100, **options: int) -> ImagePool:
    return ImagePool(rows, first_id=V, **options)


def hold(pool: ImagePool, *wanted: tuple[str, int]) -> list[Extent] | None:
    """Hold pictures by name and count as their features' writer."""
    extents = pool.hold([((name,), length) for name, length in wanted])
    for extent in extents or []:
        extent.filled = True
    return extents


def held(pool: ImagePool, *wanted: tuple[str, int]) -> list[Extent]:
    extents = hold(pool, *wanted)
    assert extents is not None
    return extents


def test_the_same_picture_has_the_same_ids() -> None:
    p = pool()
    (first,) = held(p, ("cat", 10))
    p.release([first])
    assert held(p, ("cat", 10)) == [first]
    assert p.ids(first) == range(V, V + 10)


def test_the_same_picture_twice_in_one_request_is_held_twice() -> None:
    p = pool()
    extents = held(p, ("cat", 10), ("cat", 10))
    assert extents[0] is extents[1]
    p.release(extents)
    assert not p.held


def test_keys_tell_scopes_apart() -> None:
    p = pool()
    extents = p.hold([(("a", "cat"), 10), (("b", "cat"), 10)])
    assert extents
    assert extents[0].start != extents[1].start


def test_a_row_that_is_used_again_has_a_new_id() -> None:
    p = pool()
    (cat,) = held(p, ("cat", 60))
    p.release([cat])
    (dog,) = held(p, ("dog", 60))
    assert set(p.row_numbers(cat)) & set(p.row_numbers(dog))
    assert not set(p.ids(cat)) & set(p.ids(dog))
    assert p.hold_if_filled([("cat",)]) is None


def test_rows_of_a_held_picture_are_waited_for() -> None:
    p = pool()
    (cat,) = held(p, ("cat", 60))
    assert hold(p, ("dog", 60)) is None
    p.release([cat])
    assert hold(p, ("dog", 60))


def test_a_held_picture_is_passed_over_not_stopped_at() -> None:
    p = pool()
    (cat,) = held(p, ("cat", 30))
    for name in "abcdef":
        p.release(held(p, (name, 30)))
    assert p.hold_if_filled([("cat",)]) == [cat]


def test_all_pictures_of_a_request_are_held_or_none() -> None:
    p = pool()
    (cat,) = held(p, ("cat", 50))
    assert hold(p, ("dog", 30), ("cow", 30)) is None
    p.release([cat])
    assert not p.held
    assert p.hold_if_filled([("dog",)]) is None


def test_only_pictures_with_features_are_found_without_preparing() -> None:
    p = pool()
    extents = p.hold([(("cat",), 10)])
    assert extents
    assert p.hold_if_filled([("cat",)]) is None
    extents[0].filled = True
    assert p.hold_if_filled([("cat",)]) == extents


def test_what_was_never_filled_is_forgotten() -> None:
    p = pool()
    first = p.hold([(("cat",), 10)])
    assert first
    p.release(first)
    assert p.hold([(("cat",), 10)]) != first


def test_pictures_that_nobody_needs_never_stand_in_the_way() -> None:
    p = pool()
    a, b = held(p, ("a", 20)), held(p, ("gap", 30))
    c = held(p, ("c", 20))
    p.release(a + b + c)
    # a and c are wanted again; what lies between them is too small for d, so they move.
    assert hold(p, ("a", 20), ("c", 20), ("d", 60))


def test_ids_start_over_only_when_nothing_is_held() -> None:
    p = pool(last_id=V + 149)
    (cat,) = held(p, ("cat", 60))
    p.release(held(p, ("dog", 20)))
    p.release(held(p, ("cow", 20)))
    assert hold(p, ("new", 60)) is None
    assert p.epoch == 0
    p.release([cat])
    (new,) = held(p, ("new", 60))
    assert p.epoch == 1
    assert p.ids(new) == range(V, V + 60)
    assert p.hold_if_filled([("cat",)]) is None


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 40), st.booleans()), max_size=60))
def test_no_row_ever_belongs_to_two_pictures_in_use(steps: list[tuple[int, int, bool]]) -> None:
    p = pool(last_id=V + 700)
    lengths: dict[str, int] = {}
    in_use: list[list[Extent]] = []
    for name, length, release in steps:
        if release and in_use:
            p.release(in_use.pop(0))
        key = str(name)
        extents = hold(p, (key, lengths.setdefault(key, length)))
        if extents is None:
            assert in_use
            continue
        in_use.append(extents)
        live = {extent for group in in_use for extent in group}
        rows = [row for extent in live for row in p.row_numbers(extent)]
        assert len(rows) == len(set(rows))
        assert all(V <= i <= V + 700 for extent in live for i in p.ids(extent))
