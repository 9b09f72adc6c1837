"""Where base models come from: the hub, a local folder, an installed package, or random weights."""

from metier.models.hub import Hub
from metier.models.local import LocalModel
from metier.models.packaged import PackagedGguf
from metier.models.tiny import TinyModel

__all__ = ["Hub", "LocalModel", "PackagedGguf", "TinyModel"]
