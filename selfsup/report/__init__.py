"""The report of a run: one HTML file that shows whether it worked and what its encoder can be used for."""

from selfsup.report.write import write_report

__all__ = ["write_report"]
