"""OpenVINO GenAI's continuous batching behind a chat route: its Python package has no server.

It runs in OpenVINO's own virtual environment and imports nothing of ours:
python openvino_serving.py FOLDER PORT SLOTS
"""

from __future__ import annotations

import base64
import json
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from itertools import count
from queue import SimpleQueue
from typing import Any

import numpy as np
import openvino
import openvino_genai
from PIL import Image

_CACHE_GB = 2
_STEP_TOKENS = 2048


@dataclass
class Asked:
    """A question that waits for its answer: pixels uint8 [1, height, width, 3]."""

    text: str
    pixels: Any
    tokens: int
    done: threading.Event = field(default_factory=threading.Event)
    handle: Any = None


class Pipeline:
    """The pipeline, used by one thread, which takes in what was asked before each step."""

    def __init__(self, folder: str, slots: int) -> None:
        scheduler = openvino_genai.SchedulerConfig()
        scheduler.cache_size = _CACHE_GB
        scheduler.max_num_seqs = slots
        scheduler.max_num_batched_tokens = _STEP_TOKENS
        scheduler.enable_prefix_caching = True
        self._pipeline = openvino_genai.ContinuousBatchingPipeline(
            folder, scheduler, "CPU", {}, {"INFERENCE_PRECISION_HINT": "f32"}
        )
        self._tokenizer = self._pipeline.get_tokenizer()
        self._arrived: SimpleQueue[Asked] = SimpleQueue()
        threading.Thread(target=self._run, daemon=True).start()

    def answer(self, text: str, picture: bytes, tokens: int) -> str:
        """Answer one question about a picture, greedily, in exactly so many tokens."""
        pixels = np.array(Image.open(BytesIO(picture)).convert("RGB"))[None]
        asked = Asked(text, pixels, tokens)
        self._arrived.put(asked)
        asked.done.wait()
        return str(self._tokenizer.decode(asked.handle.read_all()[0].generated_ids))

    def _run(self) -> None:
        numbers = count()
        running: list[Asked] = []
        while True:
            while not running or not self._arrived.empty():
                asked = self._arrived.get()
                picture = [openvino.Tensor(asked.pixels)]
                config = _config(asked.tokens)
                number = next(numbers)
                asked.handle = self._pipeline.add_request(number, asked.text, picture, config)
                running.append(asked)
            self._pipeline.step()
            for asked in running:
                if asked.handle.get_status() != openvino_genai.GenerationStatus.RUNNING:
                    asked.done.set()
            running = [asked for asked in running if not asked.done.is_set()]


def _config(tokens: int) -> Any:
    config = openvino_genai.GenerationConfig()
    config.max_new_tokens, config.ignore_eos, config.do_sample = tokens, True, False
    return config


class Handler(BaseHTTPRequestHandler):
    """The two routes that a measurement asks."""

    protocol_version = "HTTP/1.1"
    pipeline: Pipeline

    def do_GET(self) -> None:
        """Say that it is there."""
        self._send({})

    def do_POST(self) -> None:
        """Answer a chat completion with one picture."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        image, text = body["messages"][0]["content"]
        picture = base64.b64decode(image["image_url"]["url"].partition(",")[2])
        answer = self.pipeline.answer(text["text"], picture, body["max_tokens"])
        self._send(
            {
                "choices": [{"message": {"content": answer}}],
                "usage": {"completion_tokens": body["max_tokens"]},
            }
        )

    def log_message(self, *_: Any) -> None:
        """Log nothing of a request."""

    def _send(self, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def main(folder: str, port: str, slots: str) -> None:
    """Serve until stopped."""
    Handler.pipeline = Pipeline(folder, int(slots))
    ThreadingHTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
