"""Every kind of input that is refused, by topic: what is called, its error, its words.

    python -m tests.promises.refusals

writes docs/refusals.md anew from what the library says now.
"""

from __future__ import annotations

from tests.promises.refusals.arrays import ARRAYS
from tests.promises.refusals.devices import DEVICES
from tests.promises.refusals.layers import LAYERS
from tests.promises.refusals.learning import LEARNING
from tests.promises.refusals.models import MODELS
from tests.promises.refusals.options import OPTIONS
from tests.promises.refusals.samples import SAMPLES

__all__ = ["ARRAYS", "CALLS", "FITS", "SAMPLES"]

FITS = {**SAMPLES, **OPTIONS}
CALLS = {**MODELS, **LAYERS, **LEARNING, **DEVICES}
