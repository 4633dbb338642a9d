"""Untrusted bytes to canonical pixels: what runs inside the image door's child process.

Imports nothing but Pillow, so that a child starts quickly and holds nothing worth stealing.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from io import BytesIO

from PIL import ExifTags, Image, ImageCms, ImageFile, JpegImagePlugin, UnidentifiedImageError

from api.images.decoder_protocol import Limits

ACCEPTED = "JPEG, PNG, WebP, GIF or AVIF"
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "AVIF")
SRGB = ImageCms.createProfile("sRGB")

MAGIC = (
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (8, b"WEBP", "WebP"),
    (0, b"GIF8", "GIF"),
    (4, b"ftypavi", "AVIF"),
)
HEIC_MAGIC = tuple((4, b"ftyp" + brand, "HEIC") for brand in (b"hei", b"hev", b"mif1", b"msf1"))
LOOKALIKES = (
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"8BPS", "PSD"),
    (0, b"%!PS", "EPS"),
    (0, b"\xc5\xd0\xd3\xc6", "EPS"),
    (0, b"%PDF", "PDF"),
    (0, b"BM", "BMP"),
    (0, b"<svg", "SVG"),
    (0, b"<?xml", "SVG"),
)

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# By raw mode: Pillow 13 widens 2 and 4 bit grey and narrows 16 bit colour, yet leaves the one
# transparent value of a tRNS chunk as it was, so that it matches nothing.
TRANSPARENT_SCALE = {"L;2": 85.0, "L;4": 17.0, "RGB;16B": 1 / 256}


class Refused(Exception):
    """Raised when a picture cannot be taken: a stable code, and cause and cure in words."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Canonical:
    """A picture as we encoded it, and its size in pixels."""

    data: bytes
    width: int
    height: int


def canonicalise(data: bytes, limits: Limits) -> Canonical:
    """Return the picture oriented, sRGB over white, without metadata, at most ``max_side`` long.

    ``data`` is an upload as it came. Of several frames the first counts. Raises Refused, and never
    anything else, whatever the bytes are.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = _open(data, limits)
            lossy = image.format in ("JPEG", "MPO", "AVIF", "HEIF") or data.startswith(b"VP8 ", 12)
            size, target = image.size, _fit(image.size, limits.max_side)
            # Lets libjpeg leave out frequencies that the target cannot show, at a quarter the cost.
            image.draft(None, target)
            _scale_transparent_value(image)
            drawn = _drawn(image)
            image.load()
            turn = _turn(image)
            picture = _over_white(image)
            if drawn != (0, 0, *image.size):
                picture = _alone_over_white(picture, drawn)
            if picture.size != target:
                picture = picture.resize(target, Image.Resampling.HAMMING)
            if turn is not None:
                picture = picture.transpose(turn)
            as_it_came = picture is image and picture.size == size
            return Canonical(encode(picture, lossy=lossy, as_it_came=as_it_came), *picture.size)
    except Refused:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError, MemoryError):
        raise _too_large(limits) from None
    except Exception as error:  # noqa: BLE001 - decoders raise anything over crafted input
        raise _damaged(data, error) from None


def _open(data: bytes, limits: Limits) -> ImageFile.ImageFile:
    reads_heic = "HEIF" in Image.OPEN
    if _looks_like(data, MAGIC + HEIC_MAGIC if reads_heic else MAGIC) is None:
        raise _unsupported(data)
    image = Image.open(BytesIO(data), formats=(*FORMATS, "HEIF") if reads_heic else FORMATS)
    width, height = image.size
    if width * height > limits.max_pixels:
        raise _too_large(limits)
    short, long = sorted(image.size)
    if short < limits.min_side or long > limits.max_aspect * short:
        raise Refused(
            "image_shape",
            f"the picture is {width} x {height} pixels; both sides must be at least"
            f" {limits.min_side}, and the longer at most {limits.max_aspect} times the shorter",
        )
    assert isinstance(image, ImageFile.ImageFile)  # noqa: S101 - narrows Pillow's wider type
    return image


def _looks_like(data: bytes, table: tuple[tuple[int, bytes, str], ...]) -> str | None:
    for at, magic, name in table:
        if data.startswith(magic, at):
            return name
    return None


def _unsupported(data: bytes) -> Refused:
    if _looks_like(data, HEIC_MAGIC):
        return Refused(
            "image_unsupported",
            f"the picture must be {ACCEPTED}, and this looks like HEIC, which this server reads"
            " only where it was installed with its extra `heic`; convert it, for example to JPEG",
        )
    other = _looks_like(data, LOOKALIKES)
    seen = f"this looks like {other}" if other else "this is none of them"
    return Refused(
        "image_unsupported",
        f"the picture must be {ACCEPTED}, and {seen}; convert it, for example to PNG",
    )


def _too_large(limits: Limits) -> Refused:
    return Refused(
        "image_too_large",
        f"the picture has more pixels than can be taken ({limits.max_pixels:,}); make it smaller",
    )


def _damaged(data: bytes, error: Exception) -> Refused:
    name = _looks_like(data, MAGIC + HEIC_MAGIC)
    if isinstance(error, (OSError, EOFError)) and "truncated" in str(error).lower():
        return Refused("image_truncated", f"the {name} file ends too early; upload all of it")
    if isinstance(error, UnidentifiedImageError):
        return Refused(
            "image_corrupt", f"the {name} file's header is damaged or cut off; save it anew"
        )
    return Refused("image_corrupt", f"the {name} file is damaged; save the picture anew")


def _fit(size: tuple[int, int], max_side: int) -> tuple[int, int]:
    scale = min(1.0, max_side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _turn(image: Image.Image) -> Image.Transpose | None:
    try:
        return TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 - damaged metadata is no reason to refuse sound pixels
        return None


def _scale_transparent_value(image: ImageFile.ImageFile) -> None:
    """Bring a PNG's one transparent value to the scale that Pillow brings the pixels to."""
    scale = TRANSPARENT_SCALE.get(str(image.tile[0].args)) if image.tile else None
    value = image.info.get("transparency")
    if scale is None or value is None:
        return
    if isinstance(value, tuple):
        image.info["transparency"] = tuple(int(band * scale) for band in value)
    else:
        image.info["transparency"] = int(value * scale)


def _drawn(image: ImageFile.ImageFile) -> tuple[int, int, int, int]:
    """Return the part of a picture that its first frame draws: of a GIF, perhaps not all."""
    extents = image.tile[0].extents if image.format == "GIF" and image.tile else None
    return extents or (0, 0, *image.size)


def _alone_over_white(picture: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    """Leave a part as it is and the rest white: Pillow fills it with a colour of the palette."""
    canvas = Image.new("RGB", picture.size, "white")
    canvas.paste(picture.crop(box), box[:2])
    return canvas


def _over_white(image: ImageFile.ImageFile) -> Image.Image:
    if image.mode.startswith("I"):
        return _narrowed(image).convert("RGB")
    if not image.has_transparency_data:
        return _srgb(image)
    whole = image if image.mode in ("LA", "RGBA") else image.convert("RGBA")
    alpha = whole.getchannel("A")
    colour = whole.convert("L" if whole.mode == "LA" else "RGB")
    colour.info["icc_profile"] = image.info.get("icc_profile")
    canvas = Image.new("RGB", image.size, "white")
    canvas.paste(_srgb(colour), mask=alpha)
    return canvas


def _narrowed(image: Image.Image) -> Image.Image:
    """16 bit grey to 8 bit by scaling: Pillow's own conversion clips all above 255 to white."""
    levels = [(value * 255 + 32767) // 65535 for value in range(65536)]
    transparent = image.info.get("transparency")
    if isinstance(transparent, int) and 0 <= transparent < 65536:
        levels[transparent] = 255
    return image.convert("I").point(levels, "L")


def _srgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if image.mode not in ("L", "RGB", "CMYK"):
        image = image.convert("RGB")
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            if not ImageCms.getProfileDescription(source).startswith("sRGB"):
                converted = ImageCms.profileToProfile(image, source, SRGB, outputMode="RGB")
                return converted or image.convert("RGB")
        except Exception:  # noqa: BLE001, S110 - a broken profile says nothing of the pixels
            pass
    return image if image.mode == "RGB" else image.convert("RGB")


def encode(picture: Image.Image, *, lossy: bool, as_it_came: bool = False) -> bytes:
    """Return the bytes that are stored of an RGB picture, without metadata.

    ``as_it_came`` says that its pixels are those of the upload, in their places.

    WebP without loss at its fastest setting: of the lossless encodings it is the smallest, and as
    quick as PNG. Encode and decode in ms and size in MB, best of several on one EPYC core:

        ===============  =================  ======================  ================
        encoding         photo 4000 x 3000  screenshot 4000 x 3000  photo 1024 x 768
        ===============  =================  ======================  ================
        WebP lossless 0    796, 256,  9.5          335, 177,  3.2     30, 12, 0.93
        PNG level 1        885, 279, 13.6          325,  91,  3.5     53, 20, 1.28
        PNG level 6       3458, 245, 11.6          464, 104,  3.0    145, 17, 1.22
        uncompressed        13,  27, 36.0           12,  11, 36.0      1,  1, 2.36
        JPEG 98, 4:4:4      51,  56,  3.8           98, 133, 16.1      5,  7, 0.47
        ===============  =================  ======================  ================

    What came ``lossy`` is stored as JPEG of quality 98, 4:4:4: a tenth of the time, under half of
    the memory. That adds an error 12 to 21 dB below the one which the upload already carries, and
    of two levels at most after the model's own reduction of a 4,000 pixel photo to 672. What came
    without loss, as screenshots do, keeps every pixel: there small print is at stake.

    A JPEG whose pixels are ``as_it_came`` is encoded by its own tables and sampling, with which
    most coefficients round to what they were. That takes half of the time and of the bytes. Over
    the demo's pictures at qualities 50 to 98 that is 60 to 77 dB from the upload where colours have
    full resolution (55 to 61 dB at quality 98), and 50 to 70 dB where they have half of it (52 to
    59 dB): always nearer to the upload than that is to what it was made of.
    """
    out = BytesIO()
    picture.info.clear()
    if as_it_came and _can_keep_tables(picture):
        picture.save(out, "JPEG", quality="keep")
    elif lossy:
        picture.save(out, "JPEG", quality=98, subsampling=0)
    else:
        picture.save(out, "WEBP", lossless=True, quality=0, method=0)
    return out.getvalue()


def _can_keep_tables(picture: Image.Image) -> bool:
    """Whether a JPEG encoded by its own tables has each colour by the table that it came with.

    The encoder makes YCbCr of RGB, and gives each component the table of its own number, or the
    last one.
    """
    if not isinstance(picture, JpegImagePlugin.JpegImageFile) or picture.format != "JPEG":
        return False
    last = len(picture.quantization) - 1
    return (
        _is_ycbcr(picture)
        and JpegImagePlugin.get_sampling(picture) >= 0
        and list(picture.quantization) == list(range(last + 1))
        and all(layer[3] == min(i, last) for i, layer in enumerate(picture.layer))
    )


def _is_ycbcr(picture: JpegImagePlugin.JpegImageFile) -> bool:
    """Whether a JPEG's three components are luminance and two colour differences.

    Adobe's marker says so, or else the components' ids: libjpeg takes it for granted, too, where
    these are not the letters of RGB.
    """
    ids = bytes(layer[0] for layer in picture.layer)
    return picture.info.get("adobe_transform", 1) == 1 and ids != b"RGB"
