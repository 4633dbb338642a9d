"""One request in the batch."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from worker.engine.batch.sampling import Sampling
from worker.engine.counts import Counts


@dataclass(eq=False)
class Running:
    """A request that has a seat and pages in the batch.

    `ids` is its prompt, `seat` its row in the tables of the device, `pages` those of the cache in
    order. `cached_tokens` of its prompt were found in the cache. `read` prompt tokens and `asked`
    answer tokens are those whose step has been launched; `tokens` are those that have arrived.
    """

    id: str
    ids: Sequence[int] = field(repr=False)
    max_new_tokens: int
    eos: frozenset[int]
    draw: Sampling
    seat: int
    pages: list[int] = field(repr=False)
    cached_tokens: int
    read: int
    asked: int = 0
    tokens: list[int] = field(default_factory=list, repr=False)
    finished: bool = False
    """Whether the last token has arrived."""

    @property
    def is_reading(self) -> bool:
        """Whether a part of its prompt has not been launched yet."""
        return self.read < len(self.ids)

    @property
    def is_generating(self) -> bool:
        """Whether its prompt is read and a token more may be asked for."""
        return 0 < self.asked < self.max_new_tokens and not self.finished

    @property
    def stopped(self) -> bool:
        """Whether the model ended the answer itself."""
        return bool(self.tokens) and self.tokens[-1] in self.eos

    @property
    def length(self) -> int:
        """The keys of the next step that generates, the new one included."""
        return len(self.ids) + self.asked

    @property
    def counts(self) -> Counts:
        """Its tokens; those of its prompt once that is being read."""
        if self.read == self.cached_tokens:
            return Counts()
        return Counts(len(self.ids), self.cached_tokens, len(self.tokens))

    def arrive(self, token: int) -> None:
        """Take the next token of the answer."""
        self.tokens.append(token)
        self.finished = token in self.eos or len(self.tokens) >= self.max_new_tokens
