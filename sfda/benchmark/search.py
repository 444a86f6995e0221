"""Which learning rates and weight decays are tried, in which order, and which of them is taken."""

from dataclasses import dataclass

LEARNING_RATES = (0.01, 0.03, 0.1)
WEIGHT_DECAYS = (1e-4, 1e-2)


@dataclass(frozen=True)
class Search:
    """A search among settings, which are pairs of a learning rate and a weight decay.

    First the learning rate at the first weight decay, then the other weight decays at that rate. What was tried is
    handed in as a mapping from settings to what larger is better of, such as (accuracy, -loss), or to None where
    training diverged; who tried it, when and in which order does not matter.

    Attributes
    ----------
    rates, decays : tuples of float
    every_pair : bool, default False
        Try every rate with every decay, divided by the rate, as the paper does.
    """

    rates: tuple = LEARNING_RATES
    decays: tuple = WEIGHT_DECAYS
    every_pair: bool = False

    @property
    def size(self):
        """How many settings are tried."""
        return len(self.rates) * len(self.decays) if self.every_pair else len(self.rates) + len(self.decays) - 1

    def left(self, tried):
        """The settings that can be tried now: all that is left, or what has to be known before the others."""
        return [setting for setting in self._order(tried) if setting not in tried]

    def best(self, tried):
        """The best of the settings, the first of equals.

        Raises
        ------
        FloatingPointError
            Training diverged at all of them.
        """
        return self._best(self._order(tried), tried)

    def _order(self, tried):
        if self.every_pair:
            return list(dict.fromkeys((rate, decay / rate) for rate in self.rates for decay in self.decays))
        first = list(dict.fromkeys((rate, self.decays[0]) for rate in self.rates))
        if not all(setting in tried for setting in first):
            return first
        rate, _ = self._best(first, tried)
        return list(dict.fromkeys([*first, *((rate, decay) for decay in self.decays[1:])]))

    def _best(self, settings, tried):
        known = [setting for setting in settings if tried.get(setting) is not None]
        if not known:
            raise FloatingPointError(f"fine-tuning diverged at every learning rate of {tuple(self.rates)}")
        return max(known, key=tried.get)
