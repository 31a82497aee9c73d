"""A report of runs: figures, and one page of HTML that needs nothing else."""

from sgrnn.analysis.report.page import write_report
from sgrnn.analysis.report.plots import RunReport

__all__ = ["RunReport", "write_report"]
