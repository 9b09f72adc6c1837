"""The in-process engine: a Chat over transformers that also scores texts. Imports torch, so only `run()` imports it."""

from metier.core.engine.chat import EngineChat, load_tokenizer

__all__ = ["EngineChat", "load_tokenizer"]
