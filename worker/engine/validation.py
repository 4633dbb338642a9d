"""From a request to work: everything that can be refused is refused here, before any is done."""

import time
from dataclasses import replace

from worker.engine.answers import Work
from worker.engine.errors import PromptTooLong, TooManyImages
from worker.engine.requests import Picture, Request
from worker.engine.text.prompts import Prompts
from worker.engine.vision import images
from worker.engine.vision.detail import layouts
from worker.engine.vision.image_pool import Key
from worker.engine.vision.images import Tiling


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
        """Turn a request into work; raises InvalidRequest or one of its subclasses.

        Pictures that ask for detail get as much of it as the context has room for.
        """
        submitted = time.monotonic()
        request.check()
        for conversation in layouts(request.conversation, self._tiling):
            work = self._work(replace(request, conversation=conversation), submitted)
            if work.total <= self.context and sum(work.lengths) < self._picture_tokens:
                return work
        if sum(work.lengths) >= self._picture_tokens:
            raise TooManyImages(
                f"The pictures need {sum(work.lengths)} image tokens and this worker keeps fewer "
                f"than {self._picture_tokens}; send fewer pictures."
            )
        raise PromptTooLong(
            f"The prompt has {work.prompt_tokens} tokens ({sum(work.lengths)} of them for "
            f"pictures) and max_new_tokens is {request.max_new_tokens}, together {work.total}; "
            f"this model holds {self.context}. Shorten the conversation, send fewer pictures or "
            "less detail, or lower max_new_tokens."
        )

    def _work(self, request: Request, submitted: float) -> Work:
        pictures = request.pictures
        sizes = [images.size(picture) for picture in pictures]
        prompt = self._prompts.build(request.conversation)
        lengths = [self._tiling.tokens(height, width) for height, width in sizes]
        word = (request.scope, "word", str(prompt.ids[0]))
        keys: list[Key] = [word, *((request.scope, "picture", *_seen(p)) for p in pictures)]
        return Work(request, prompt, keys, lengths, sizes, submitted=submitted)


def _seen(picture: Picture) -> tuple[str, ...]:
    """What tells one thing to look at from another."""
    return (picture.digest, *map(str, picture.box or ()))
