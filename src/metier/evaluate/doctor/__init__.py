"""What is wrong with a trained model, how that is known, and which fields of the recipe mend it."""

from metier.evaluate.doctor.step import Diagnosis, Doctor

__all__ = ["Diagnosis", "Doctor"]
