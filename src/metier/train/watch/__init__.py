"""The watch of a training: what is looked at after each step and between them, and what is done about what is found.

Light: recipes import `options`. `trace` and `detectors` are arithmetic on what steps told; `samples` and `forgetting`
read the model, undisturbed; `rollback` keeps good checkpoints and goes back to them; `guard` ties them together.
"""
