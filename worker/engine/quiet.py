"""Imported before transformers, which imports torchao, which warns of things that concern nobody.

It warns of each CUDA extension that this machine's torch cannot load (none is used here) and, in
torch's name, of how it registers its own classes.
"""

import logging

for _name in ("torchao", "torch.utils._pytree"):
    logging.getLogger(_name).setLevel(logging.ERROR)
