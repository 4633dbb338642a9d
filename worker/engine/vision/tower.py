"""The vision tower: from uint8 tiles to one feature per image token."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import CLIPVisionModel

from worker.engine.vision.images import Tiles


class Vision:
    """Runs a checkpoint's vision tower and projector on tiles.

    `levels` [3, 256] float32 holds the normalised value of each of the 256 levels of each channel,
    as the checkpoint's processor computes it: looking values up is exact by construction, and the
    device receives a byte per value instead of four.
    """

    def __init__(self, model: Any, levels: np.ndarray[Any, np.dtype[np.float32]]) -> None:
        self._model = model
        self._layer = _drop_layers_that_nobody_sees(model)
        self._levels = torch.from_numpy(levels).to(model.device)

    def pixel_values(self, tiles: Tiles) -> torch.Tensor:
        """uint8 [tiles, 3, side, side] -> float32 of the same shape, equal to the processor's."""
        return normalised(tiles, self._levels)

    @torch.no_grad()
    def features(
        self, pictures: Sequence[tuple[Tiles, tuple[int, int]]]
    ) -> tuple[torch.Tensor, ...]:
        """Encode pictures, each given as (tiles, (height, width)), in one pass.

        Returns one tensor [image tokens, hidden] per picture.
        """
        pixels = torch.cat([self.pixel_values(tiles) for tiles, _ in pictures])
        sizes = torch.tensor([size for _, size in pictures])
        output = self._model.get_image_features(
            pixel_values=pixels, image_sizes=sizes, vision_feature_layer=self._layer
        )
        return tuple(output.pooler_output)


def normalised(tiles: Tiles, levels: torch.Tensor) -> torch.Tensor:
    """Look values up in levels [3, 256]: uint8 [tiles, 3, side, side] -> float32, same shape."""
    index = torch.from_numpy(tiles).to(levels.device).int()
    return torch.stack([levels[c][index[:, c]] for c in range(3)], dim=1)


def _drop_layers_that_nobody_sees(model: Any) -> Any:
    """Cut the layers behind the one whose output is used; returns that layer's new index.

    LLaVA reads the last layer but one, so the last is computed for nothing.
    """
    tower, layer = model.model.vision_tower, model.config.vision_feature_layer
    if not (isinstance(tower, CLIPVisionModel) and isinstance(layer, int)):
        return layer
    seen = layer % (len(tower.encoder.layers) + 1)
    tower.encoder.layers = tower.encoder.layers[:seen]
    return seen
