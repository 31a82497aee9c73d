"""A small text and runs on it, as the tests of training have them."""

from training.conftest import folder, start

__all__ = ["folder", "start"]
