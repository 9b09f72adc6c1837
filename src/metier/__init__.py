"""Metier: teach a language model a trade, from raw documents to a served model and back from feedback."""

__version__ = "0.1.0"
