"""Tests of sweeps: their space and proposals."""
