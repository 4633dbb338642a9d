"""Files of all kinds, damaged at random: each is taken, or refused."""

import random
from functools import partial

import httpx
import pytest
from PIL import Image

from tests.eventually import eventually
from tests.installations import Installation, descendants
from tests.unit.api.images.test_decoder_pool import REFUSALS, mutated
from tests.unit.api.pictures import encoded, scene

FILES = 300
UNREAD = {"tif", "bmp", "pdf", "jp2", "ico", "svg"}
EXTENSIONS = ("jpg", "png", "webp", "gif", "avif", "heic", "svg", "exe", "", "jpg\0.php", "../a")


def files() -> dict[str, bytes]:
    """Sound files of all kinds that are taken, and some that are not."""
    picture, noise = scene((320, 240)), Image.effect_noise((200, 150), 90)
    animated = {"save_all": True, "append_images": [picture.rotate(90)] * 3}
    return {
        "jpg": encoded(picture, "JPEG"),
        "progressive.jpg": encoded(noise, "JPEG", progressive=True),
        "cmyk.jpg": encoded(picture.convert("CMYK"), "JPEG"),
        "mpo": encoded(picture, "MPO", **animated),
        "png": encoded(picture, "PNG"),
        "palette.png": encoded(picture.quantize(16), "PNG", transparency=3),
        "grey.png": encoded(noise.convert("I;16"), "PNG"),
        "animated.png": encoded(picture, "PNG", **animated),
        "webp": encoded(picture, "WEBP"),
        "lossless.webp": encoded(noise, "WEBP", lossless=True, exif=Image.Exif().tobytes()),
        "animated.webp": encoded(picture, "WEBP", **animated),
        "gif": encoded(picture, "GIF", **animated),
        "avif": encoded(picture, "AVIF"),
        "tif": encoded(picture, "TIFF"),
        "bmp": encoded(picture, "BMP"),
        "pdf": encoded(picture, "PDF"),
        "jp2": encoded(picture, "JPEG2000"),
        "ico": encoded(picture, "ICO"),
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"/>',
    }


def damaged(sound: dict[str, bytes], chance: random.Random) -> bytes:
    """A file with another's head, with something behind it, or changed as `mutated` does."""
    one, other = chance.choices(list(sound.values()), k=2)
    kind = chance.randrange(6)
    if kind == 0:
        return one + other
    if kind == 1:
        return other[:32] + one[32:]
    if kind == 2:
        return one + chance.randbytes(chance.randrange(4_096))
    return mutated(one, chance)


def test_no_file_is_more_than_refused(
    installation: Installation, newcomer: httpx.Client, seed: int
) -> None:
    chance = random.Random(seed)
    sound = files()
    api = {seen.pid for seen in installation.family if "gunicorn" in seen.command}
    outcomes: dict[str, int] = {}
    for _ in range(FILES):
        upload = damaged(sound, chance)
        name = f"a.{chance.choice(EXTENSIONS)}"
        response = eventually(partial(answered, newcomer, name, upload), "it is taken or refused")
        code = "taken" if response.status_code == 201 else response.json()["error"]["code"]
        assert code in REFUSALS | {"taken"}, upload.hex()
        assert response.status_code < 500
        outcomes[code] = outcomes.get(code, 0) + 1
    assert {"taken", "image_corrupt", "image_truncated", "image_unsupported"} <= set(outcomes)
    assert {seen.pid for seen in descendants(installation.pid) if "gunicorn" in seen.command} == api


def answered(http: httpx.Client, name: str, upload: bytes) -> httpx.Response | None:
    """What is answered to a file; None where the machine was busy and it is to be sent again."""
    response = http.post("/v1/images", files={"image": (name, upload, "image/png")})
    busy = response.status_code == 503 and response.json()["error"]["code"] == "images_busy"
    return None if busy else response


@pytest.mark.parametrize("name", ["a", "b.png", "c.exe"])
def test_what_a_file_is_called_makes_no_difference(newcomer: httpx.Client, name: str) -> None:
    for kind, upload in files().items():
        response = newcomer.post("/v1/images", files={"image": (name, upload, "text/html")})
        assert response.status_code == (415 if kind in UNREAD else 201), (kind, response.text)
