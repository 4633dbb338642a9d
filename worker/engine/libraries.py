"""Set up libraries that read their settings as they are loaded: imported before torch is.

torchao, which transformers imports, warns of each CUDA extension that this machine's torch cannot
load (none is used here) and, in torch's name, of how it registers its own classes.

OpenMP's threads wait actively between the parts of a step, by default for up to 16 ms. Where another
process keeps a core busy, two of them share a core for good, and each wait lasts until the kernel
takes the core from the one that waits. On two cores beside one busy process 20,000 turns (about 1 ms)
gave 2.6 times as many answers, and on an idle machine as many as before.
"""

import logging
import os

for _name in ("torchao", "torch.utils._pytree"):
    logging.getLogger(_name).setLevel(logging.ERROR)
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
