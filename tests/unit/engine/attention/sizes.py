"""The sizes of the released models: 7B is Mistral's, 13B Vicuna's, 34B Yi's."""

from worker.engine.attention.trial import Shape

MODELS = {
    "7B": Shape(heads=32, groups=8, dim=128, hidden=4096, intermediate=14336),
    "13B": Shape(heads=40, groups=40, dim=128, hidden=5120, intermediate=13824),
    "34B": Shape(heads=56, groups=8, dim=128, hidden=7168, intermediate=20480),
}
