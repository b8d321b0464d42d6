"""What is made of the scores: comparisons, verdicts, tables, files."""
