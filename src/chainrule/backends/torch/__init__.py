"""The PyTorch engine."""

from __future__ import annotations

from chainrule.backends.torch.engine import TorchBackend

__all__ = ["TorchBackend"]
