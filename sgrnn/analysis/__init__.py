"""Diagnosis, comparison, curves and reports of runs that have been trained."""
