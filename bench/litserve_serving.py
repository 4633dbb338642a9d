"""The process of the LitServe peer: `generate` behind its API, in batches of what has come.

LitServe reads the types of a request and a response from annotations, which must not be strings.
"""

import base64
from pathlib import Path
from typing import Any

import click
import litserve

from bench.generating import Generating
from bench.litserve_peer import ANSWER_TIMEOUT_S
from bench.processes import share_cores
from bench.workload import Question

_BATCH_TIMEOUT_S = 0.05


class Answering(litserve.LitAPI):
    """Decodes questions, answers a batch of them and encodes the answers."""

    def __init__(self, model: Path, batch: int) -> None:
        super().__init__(max_batch_size=batch, batch_timeout=_BATCH_TIMEOUT_S)
        self._model = model

    def setup(self, device: str) -> None:
        """Load the checkpoint, in the process that answers."""
        share_cores()
        self._generating = Generating.load(self._model, device)

    def decode_request(self, request: dict[str, Any], **_: object) -> Question:
        """Read one question from the body of a request."""
        return Question(base64.b64decode(request["picture"]), request["text"], request["tokens"])

    def predict(self, x: list[Question], **_: object) -> list[str]:
        """Answer a batch."""
        return self._generating.answer(x)

    def encode_response(self, output: str, **_: object) -> dict[str, str]:
        """Write one answer as the body of a response."""
        return {"answer": output}


@click.command()
@click.option("--model", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--port", type=int, required=True)
@click.option("--batch", type=int, required=True)
def main(model: Path, port: int, batch: int) -> None:
    """Serve a checkpoint until stopped.

    Example: python -m bench.litserve_serving --model FOLDER --port 8001 --batch 32
    """
    server = litserve.LitServer(
        Answering(model, batch), accelerator="cpu", timeout=ANSWER_TIMEOUT_S
    )
    server.run(host="127.0.0.1", port=port, generate_client_file=False)


if __name__ == "__main__":
    main()
