"""Where this was until 0.1; it is now in `chainrule.optimizers`."""

from chainrule.optimizers import LBFGS, LevenbergMarquardt

__all__ = ["LBFGS", "LevenbergMarquardt"]
