"""Hold back toxic, sexual, hateful and illegal text for a person to decide on."""

from metier.corpus.comply.step import Comply

__all__ = ["Comply"]
