"""The image door's child: reads uploads from a socket, answers each, and can do little else.

It serves one upload after another. A fork for each would keep tenants' pictures apart even where a
decoder has been taken over, but its page faults take 4 to 10 ms, longer than a small picture.
"""

from __future__ import annotations

import importlib
import json
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable

from PIL import AvifImagePlugin, Image

from api.allocator import return_blocks
from api.images.canonical import Canonical, Refused, canonicalise
from api.images.decoder_protocol import Limits, receive_frame, send_frame

MAX_UPLOAD_BYTES = 1 << 30
_LONG_BYTES = 4 << 20
"""What a large picture took is given back; small ones are quicker with what is kept."""
# What Pillow imports on meeting the formats we accept: a confined process can open no file, and so
# no module either.
IMPORTED_LATE = ("MpoImagePlugin", "TiffImagePlugin", "WebPImagePlugin")


def main(work: Callable[[bytes, Limits], Canonical] = canonicalise) -> None:
    """Serve the socket and limits that the command line names, until the door closes.

    ``work`` is what is done with an upload; tests pass work that hangs or crashes.
    """
    limits = Limits(**json.loads(sys.argv[2]))
    Image.preinit()
    for plugin in IMPORTED_LATE:
        importlib.import_module(f"PIL.{plugin}")
    _read_heic_where_it_can_be()
    Image.MAX_IMAGE_PIXELS = limits.max_pixels
    # Each decoder thread would reserve a stack and an arena out of the memory limit.
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    return_blocks(_LONG_BYTES)
    with socket.socket(fileno=int(sys.argv[1])) as door:
        _confine(limits)
        send_frame(door, {"used_s": time.process_time()})
        while True:
            try:
                _, data = receive_frame(door, MAX_UPLOAD_BYTES)
                _allow_processor_time(limits)
                header, body = _answer(work, data, limits)
                del data
                send_frame(door, {**header, "used_s": time.process_time()}, body)
                del body  # while nothing is asked, nothing is held
            except (EOFError, ConnectionError):
                return


def _read_heic_where_it_can_be() -> None:
    try:
        heif = importlib.import_module("pillow_heif")
    except ImportError:
        return  # the extra `heic` is not installed
    # As for AVIF; and a preview inside of the file may show something else than the picture.
    heif.register_heif_opener(
        decode_threads=1, thumbnails=False, depth_images=False, aux_images=False
    )


def _answer(
    work: Callable[[bytes, Limits], Canonical], data: bytes, limits: Limits
) -> tuple[dict[str, str | int], bytes]:
    try:
        picture = work(data, limits)
    except Refused as refused:
        return {"code": refused.code, "message": refused.message}, b""
    return {"width": picture.width, "height": picture.height}, picture.data


def _confine(limits: Limits) -> None:
    """Give up what decoding does not need: more memory, new files, sockets, processes."""
    for kind in (
        resource.RLIMIT_CORE,
        resource.RLIMIT_FSIZE,
        resource.RLIMIT_NPROC,
        resource.RLIMIT_NOFILE,
    ):
        resource.setrlimit(kind, (0, 0))
    if sys.platform != "darwin":  # macOS has the constant and refuses the call
        resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))


def _allow_processor_time(limits: Limits) -> None:
    """Let SIGPROF end the process after ``cpu_s`` more seconds, even where the door is gone.

    By a timer and not RLIMIT_CPU, which counts from the process's start, by a clock that nothing
    else shows: after many pictures it is seconds apart from what the process seems to have used.
    """
    signal.setitimer(signal.ITIMER_PROF, limits.cpu_s)


if __name__ == "__main__":
    main()
