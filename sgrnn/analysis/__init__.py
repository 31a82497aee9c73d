"""What is made of runs that have been trained: diagnosis, comparison, curves, reports."""
