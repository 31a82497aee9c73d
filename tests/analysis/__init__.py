"""Tests of what is made of runs that have been trained."""
