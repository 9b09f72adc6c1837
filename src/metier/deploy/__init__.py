"""From a trained model to files that may leave: converted, quantised, and compared with what was trained."""

from metier.deploy.export import ExportModel

__all__ = ["ExportModel"]
