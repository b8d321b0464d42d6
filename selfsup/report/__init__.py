"""The report of a run: one HTML file that shows whether it worked and what the encoder is good for."""

from selfsup.report.write import write_report

__all__ = ["write_report"]
