# One command for all checks of a change: make check
.PHONY: check format lint types tests tables site

check: lint types tests

format:
	uv run ruff format .
	uv run ruff check --fix .

lint:
	uv run ruff check .
	uv run ruff format --check .

types:
	uv run mypy

tests:
	uv run pytest -n auto

tables:  # of the documentation, from benchmarks/results
	uv run python -m benchmarks.tables

site:
	uv run mkdocs serve
