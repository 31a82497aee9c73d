"""Tests of recipes, runs, checkpoints and the training loop."""
