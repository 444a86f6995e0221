"""The answer for one's own images: ``from sfda.rank import rank``."""

from sfda.rank.run import rank

__all__ = ["rank"]
