"""What the figures, losses and ledgers of a recipe say, as one page that works offline."""

from metier.evaluate.report.step import WriteReport

__all__ = ["WriteReport"]
