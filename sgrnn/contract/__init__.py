"""Checks that a user's model returns outputs and a state, time first, and changes nothing else."""
