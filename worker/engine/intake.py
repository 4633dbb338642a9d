"""From a request to work: everything that can be refused is refused here, before any is done."""

import time

from worker.engine import images
from worker.engine.answers import Work
from worker.engine.errors import PromptTooLong, TooManyImages
from worker.engine.image_pool import Key
from worker.engine.images import Tiling
from worker.engine.prompts import Prompts
from worker.engine.requests import Request


class Intake:
    """Checks requests against what the model and the caches can hold. Thread-safe.

    `context`: the most tokens of prompt and answer together; `picture_tokens`: the most image
    tokens of one request.
    """

    def __init__(
        self, prompts: Prompts, tiling: Tiling, *, context: int, picture_tokens: int
    ) -> None:
        self._prompts = prompts
        self._tiling = tiling
        self.context = context
        self._picture_tokens = picture_tokens

    def accept(self, request: Request) -> Work:
        """Turn a request into work; raises InvalidRequest or one of its subclasses."""
        submitted = time.monotonic()
        request.check()
        sizes = [images.size(picture.data) for picture in request.pictures]
        prompt = self._prompts.build(request.conversation)
        lengths = [self._tiling.tokens(height, width) for height, width in sizes]
        if sum(lengths) >= self._picture_tokens:
            raise TooManyImages(
                f"The pictures need {sum(lengths)} image tokens and this worker keeps fewer than "
                f"{self._picture_tokens}; send fewer pictures."
            )
        word = (request.scope, "word", str(prompt.ids[0]))
        keys: list[Key] = [word, *((request.scope, "picture", p.digest) for p in request.pictures)]
        work = Work(request, prompt, keys, lengths, sizes, submitted=submitted)
        if work.total > self.context:
            raise PromptTooLong(
                f"The prompt has {work.prompt_tokens} tokens ({sum(lengths)} of them for pictures) "
                f"and max_new_tokens is {request.max_new_tokens}, together {work.total}; this "
                f"model holds {self.context}. Shorten the conversation, send fewer pictures, or "
                "lower max_new_tokens."
            )
        return work
