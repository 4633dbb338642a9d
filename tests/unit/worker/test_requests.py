"""What a job asks, in the engine's words."""

from typing import Any

import pytest

from jobs.image_store import ImageStore
from jobs.ledger import Ledger
from jobs.request import ImagePart, Parameters
from tests.ledgers import claimed, submitted
from worker.engine import Picture
from worker.tasks import to_request


def test_every_parameter_of_a_job_reaches_the_engine(client: Any, ledger: Ledger) -> None:
    parameters = Parameters(8, 0.7, 0.9, top_k=40, seed=0, stop=("\n", "END"))
    submitted(ledger, parameters=parameters)

    request = to_request(claimed(ledger).job, ImageStore(client))

    assert {name: getattr(request, name) for name in vars(parameters)} == vars(parameters)
    assert request.scope == "acme"


@pytest.mark.parametrize("detail", ["auto", "high"])
def test_a_picture_is_shown_with_its_bytes_and_its_detail(
    client: Any, ledger: Ledger, detail: Any
) -> None:
    images = ImageStore(client)
    images.put("acme", "d" * 64, b"pixels")
    submitted(ledger, images=(ImagePart("d" * 64, 64, 48, detail),))

    request = to_request(claimed(ledger).job, images)

    assert request.pictures == (Picture(b"pixels", "d" * 64, detail),)
