"""The embedding layer that resolves picture ids to vision features."""

import torch
from torch import nn


class PictureEmbedding(nn.Module):
    """Looks ids below the vocabulary up in the model's own embedding and all others in a table.

    ids int [..., tokens] -> [..., tokens, hidden]. The row of an id is `(id - vocabulary) % rows`.
    There is no branch on the ids, so the layer can be captured in a CUDA graph.
    """

    table: torch.Tensor

    def __init__(self, words: nn.Embedding, rows: int) -> None:
        super().__init__()
        self.words = words
        self.vocabulary = words.num_embeddings
        table = words.weight.new_zeros((rows, words.embedding_dim))
        self.register_buffer("table", table, persistent=False)

    @property
    def weight(self) -> torch.Tensor:
        """The model's own embedding matrix, for code that ties or inspects it."""
        return self.words.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        ids = ids.long()
        is_picture = ids >= self.vocabulary
        words: torch.Tensor = self.words(ids.masked_fill(is_picture, 0))
        pictures = self.table[(ids - self.vocabulary) % self.table.shape[0]]
        return torch.where(is_picture.unsqueeze(-1), pictures, words)

    @torch.no_grad()
    def fill(self, rows: list[int], features: torch.Tensor) -> None:
        """Write features [len(rows), hidden] into rows."""
        index = torch.tensor(rows, device=self.table.device)
        self.table.index_copy_(0, index, features.to(self.table))

    @torch.no_grad()
    def fill_with_word(self, row: int, word: int) -> None:
        """Make a row a copy of a word's embedding."""
        self.table[row] = self.words.weight[word]
