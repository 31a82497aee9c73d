"""Training by a recipe: the loop, the run folder, checkpoints, processes, display."""
