"""Pictures that readers can move: Vega-Lite charts, the same in the book, in Jupyter and in Colab."""

from explorable.contest import results
from explorable.fisher import aligned, fisher_space
from explorable.record import record_grows
from explorable.sample import one_sample
from explorable.show import explorable
from explorable.tau import moving_network

__all__ = ["aligned", "explorable", "fisher_space", "moving_network", "one_sample", "record_grows", "results"]
