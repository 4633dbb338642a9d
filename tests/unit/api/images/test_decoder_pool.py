"""What the door withstands: decoders that hang, crash or eat memory, and uploads of any bytes."""

from __future__ import annotations

import io
import json
import os
import random
import secrets
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from api.images.decoder_pool import CanonicalImage, ImageDoor, ImageRejected
from tests.eventually import PATIENCE_S
from tests.unit.api.pictures import encoded

MISBEHAVING = (str(Path(__file__).with_name("misbehaving_decoder.py")),)
REFUSALS = {
    "image_empty",
    "image_unsupported",
    "image_truncated",
    "image_too_large",
    "image_shape",
    "image_corrupt",
}


@pytest.fixture
def new_door() -> Iterator[Callable[..., ImageDoor]]:
    doors: list[ImageDoor] = []

    def create(**options: Any) -> ImageDoor:
        doors.append(ImageDoor(**{"program": MISBEHAVING, "timeout_s": 20, **options}))
        return doors[-1]

    yield create
    for door in doors:
        door.close()


@pytest.fixture
def picture() -> bytes:
    return encoded(Image.linear_gradient("L").convert("RGB").resize((64, 48)), "PNG")


def outcome(door: ImageDoor, upload: bytes, tenant: str = "") -> str:
    """The code of an upload's refusal, or 'taken'."""
    try:
        door.canonical(upload, tenant)
    except ImageRejected as refused:
        return refused.code
    return "taken"


def told(door: ImageDoor, command: bytes) -> Any:
    return json.loads(door.canonical(command).data)


class TestMisbehaviour:
    def test_whatever_takes_too_much_processor_time_is_refused_for_good(
        self, new_door: Callable[..., ImageDoor], picture: bytes
    ) -> None:
        door = new_door(timeout_s=0.3, wall_s=120)
        assert outcome(door, picture) == "taken"
        assert outcome(door, b"compute for ever") == "image_timeout"
        assert outcome(door, picture) == "taken"

    def test_whatever_takes_long_without_using_the_processor_may_be_tried_again(
        self, new_door: Callable[..., ImageDoor]
    ) -> None:
        """On a machine that is busy with other things, decoding waits as this hang does."""
        door = new_door(wall_s=0.5)
        with pytest.raises(ImageRejected) as rejected:
            door.canonical(b"hang")
        assert (rejected.value.code, rejected.value.status) == ("images_busy", 503)
        assert rejected.value.retry_after == 5

    def test_a_decoder_that_is_ended_before_its_time_is_replaced_and_asked_again(
        self, new_door: Callable[..., ImageDoor], picture: bytes
    ) -> None:
        door = new_door(processes=1)
        assert outcome(door, picture) == "taken"
        assert told(door, b"be ended early unless you are fresh") == "fresh"

    def test_a_decoder_that_is_ended_before_its_time_twice_is_no_fault_of_the_picture(
        self, new_door: Callable[..., ImageDoor], picture: bytes
    ) -> None:
        door = new_door()
        assert outcome(door, b"be ended early") == "images_busy"
        assert outcome(door, picture) == "taken"

    def test_a_decoder_has_its_time_for_each_picture_however_many_it_has_decoded(
        self, new_door: Callable[..., ImageDoor]
    ) -> None:
        door = new_door(processes=1, timeout_s=20)
        left = [told(door, b"tell")["processor"] for _ in range(50)]
        assert min(left) > 39

    @pytest.mark.parametrize("command", [b"segfault", b"exit", b"talk nonsense"])
    def test_a_crash_costs_only_its_own_upload(
        self, new_door: Callable[..., ImageDoor], picture: bytes, command: bytes
    ) -> None:
        door = new_door()
        assert outcome(door, command) == "image_corrupt"
        assert outcome(door, picture) == "taken"

    def test_memory_is_limited(self, new_door: Callable[..., ImageDoor], picture: bytes) -> None:
        door = new_door()
        assert outcome(door, b"take too much memory") == "image_corrupt"
        assert outcome(door, picture) == "taken"

    def test_a_picture_that_needs_more_memory_than_allowed_is_too_large(
        self, new_door: Callable[..., ImageDoor], picture: bytes
    ) -> None:
        door = new_door(memory_bytes=160 << 20)
        large = encoded(Image.new("RGB", (7000, 7000)), "PNG", compress_level=1)
        assert outcome(door, large) == "image_too_large"
        assert outcome(door, picture) == "taken"

    def test_a_child_that_died_between_uploads_costs_none(
        self, new_door: Callable[..., ImageDoor], picture: bytes
    ) -> None:
        door = new_door()
        os.kill(told(door, b"tell")["pid"], signal.SIGKILL)
        assert outcome(door, picture) == "taken"

    def test_neighbours_of_a_crash_are_answered(
        self, new_door: Callable[..., ImageDoor], picture: bytes
    ) -> None:
        door = new_door(processes=2)
        uploads = [b"segfault" if n % 4 == 0 else picture for n in range(24)]
        with ThreadPoolExecutor(8) as threads:
            outcomes = list(threads.map(lambda upload: outcome(door, upload), uploads))
        assert outcomes == [
            "image_corrupt" if upload == b"segfault" else "taken" for upload in uploads
        ]

    def test_every_thread_gets_the_answer_to_its_own_upload(
        self, new_door: Callable[..., ImageDoor]
    ) -> None:
        door = new_door(processes=2)
        colours = [(n, 255 - n, 7) for n in range(0, 250, 5)]

        def round_trip(colour: tuple[int, int, int]) -> CanonicalImage:
            return door.canonical(encoded(Image.new("RGB", (32, 32), colour), "PNG"))

        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(round_trip, colours))
        shown = [Image.open(io.BytesIO(answer.data)).getpixel((0, 0)) for answer in answers]
        assert shown == colours


class TestConfinement:
    def test_a_decoder_holds_no_secret_and_little_code(
        self, new_door: Callable[..., ImageDoor], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LLAVA_JOBS_REDIS_URL", "redis://:canary@store")
        told_by_child = told(new_door(), b"tell")
        assert set(told_by_child["environment"]) <= {
            "LC_CTYPE",
            "LD_LIBRARY_PATH",
            "PYTHONHOME",
            "PYTHONPATH",
        }
        imported = {name.partition(".")[0] for name in told_by_child["modules"]}
        assert not imported & {"torch", "flask", "redis", "celery", "jobs", "worker", "pydantic"}

    def test_memory_and_processor_time_are_limited_and_no_core_is_dumped(
        self, new_door: Callable[..., ImageDoor]
    ) -> None:
        limits = told(new_door(memory_bytes=1 << 30, timeout_s=20), b"tell")
        assert limits["memory"] == 1 << 30
        assert 39 < limits["processor"] < 41, "twice as much"
        assert limits["core"] == 0

    @pytest.mark.parametrize("command", [b"open a file", b"open a socket"])
    def test_nothing_can_be_opened(
        self, new_door: Callable[..., ImageDoor], command: bytes
    ) -> None:
        assert told(new_door(), command) == "OSError"


class TestLife:
    def test_busy_decoders_are_told_as_503_and_closing_ends_what_is_under_way(
        self, new_door: Callable[..., ImageDoor], picture: bytes
    ) -> None:
        door = new_door(processes=1, queue_timeout_s=0.01, timeout_s=60)
        assert outcome(door, picture) == "taken"
        with ThreadPoolExecutor(1) as threads:
            held = threads.submit(outcome, door, b"hang")
            while (answer := outcome(door, picture, "another")) == "taken":
                pass
            assert answer == "images_busy"
            door.close()
            assert held.result(timeout=PATIENCE_S) == "images_busy"

    def test_a_closed_door_rejects(
        self, new_door: Callable[..., ImageDoor], picture: bytes
    ) -> None:
        door = new_door(processes=2)
        child = told(door, b"tell")["pid"]
        door.close()
        door.close()
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)
        with pytest.raises(ImageRejected) as rejected:
            door.canonical(picture)
        assert (rejected.value.code, rejected.value.status) == ("images_busy", 503)
        assert rejected.value.retry_after == 1

    def test_a_child_that_cannot_start_is_no_fault_of_the_picture(
        self, new_door: Callable[..., ImageDoor], picture: bytes
    ) -> None:
        assert outcome(new_door(program=("-c", "raise SystemExit(1)")), picture) == "images_busy"

    def test_a_door_is_not_shared_over_a_fork(
        self,
        new_door: Callable[..., ImageDoor],
        picture: bytes,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        door = new_door()
        own = os.getpid()
        with monkeypatch.context() as forked:
            forked.setattr(os, "getpid", lambda: own + 1)
            with pytest.raises(RuntimeError, match="in each process"):
                door.canonical(picture)


class TestTurns:
    def test_one_tenants_slow_pictures_hold_up_no_other_tenant(
        self, new_door: Callable[..., ImageDoor], picture: bytes
    ) -> None:
        door = new_door(processes=2, timeout_s=60, queue_timeout_s=60)
        with ThreadPoolExecutor(4) as threads:
            slow = [threads.submit(outcome, door, b"hang", "a") for _ in range(4)]
            assert [outcome(door, picture, "b") for _ in range(20)] == ["taken"] * 20
            assert not any(each.done() for each in slow)
            door.close()
            assert {each.result(timeout=PATIENCE_S) for each in slow} == {"images_busy"}

    def test_above_a_tenants_bound_its_pictures_are_a_429(
        self, new_door: Callable[..., ImageDoor], picture: bytes
    ) -> None:
        door = new_door(processes=2, timeout_s=60, queue_timeout_s=60, waiting_of_one=2)
        with ThreadPoolExecutor(4) as threads:
            slow = [threads.submit(outcome, door, b"hang", "a") for _ in range(4)]
            [refused] = wait(slow, timeout=20, return_when=FIRST_COMPLETED).done
            assert refused.result() == "too_many_uploads"
            assert outcome(door, picture, "b") == "taken"
            with pytest.raises(ImageRejected) as rejected:
                door.canonical(picture, "a")
            assert (rejected.value.status, rejected.value.retry_after) == (429, 1)
            door.close()


class TestMutations:
    def test_any_bytes_are_taken_or_refused_and_nothing_else(
        self, new_door: Callable[..., ImageDoor], picture: bytes
    ) -> None:
        seed = secrets.randbits(32)
        print(f"mutations of seed {seed}")
        chance = random.Random(seed)
        door = new_door(program=("-m", "api.images.decoder_process"))
        source = Image.open(io.BytesIO(picture))
        uploads = [
            encoded(source, "PNG"),
            encoded(source.quantize(16), "PNG", transparency=3),
            encoded(source, "JPEG"),
            encoded(source, "JPEG", progressive=True),
            encoded(source, "WEBP"),
            encoded(source, "WEBP", lossless=True, exif=Image.Exif().tobytes()),
            encoded(source, "GIF"),
            encoded(source, "AVIF"),
        ]
        for _ in range(200):
            upload = mutated(chance.choice(uploads), chance)
            assert outcome(door, upload) in REFUSALS | {"taken"}, upload.hex()
        assert outcome(door, picture) == "taken"


def mutated(upload: bytes, chance: random.Random) -> bytes:
    """The upload cut short, or some bytes of its header or anywhere changed."""
    kind = chance.randrange(4)
    if kind == 0:
        return upload[: chance.randrange(len(upload))]
    changed = bytearray(upload)
    reach = 64 if kind == 1 else len(changed)
    for _ in range(chance.randint(1, 8)):
        changed[chance.randrange(min(reach, len(changed)))] = chance.randrange(256)
    if kind == 3:
        at = chance.randrange(len(changed))
        changed[at:at] = changed[: chance.randrange(64)]
    return bytes(changed)
