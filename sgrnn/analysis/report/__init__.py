"""A report of runs: figures, and one page of HTML that needs nothing else."""

from sgrnn.analysis.report.page import write_report

__all__ = ["write_report"]
