"""Finding and opening parquet files."""

import glob
from pathlib import Path
from typing import Any

from selfsup.data.readers.paths import did_you_mean, require_one_split
from selfsup.errors import UsageError


def find_files(where: str, split: str) -> list[Path]:
    """The files that `data.train` or `data.test` means: one, those in a folder, or those matching a pattern.

    Raises:
        UsageError: if there are none, or a folder holds the files of several splits.
    """
    if where in (None, "", "???"):
        raise UsageError(f"data=parquet needs data.{split}=FILE, or a folder or pattern of parquet files")
    path = Path(str(where)).expanduser()  # a folder called 2024 comes as a number
    if path.is_file():
        return [path]
    if path.is_dir():
        files = sorted(path.rglob("*.parquet"))
        if not files:
            raise UsageError(f"folder {where!r} (data.{split}) holds no .parquet files")
        require_one_split(path, files, f"data.{split}")
        return files
    files = sorted(Path(match) for match in glob.glob(str(path), recursive=True))
    if not files:
        raise UsageError(f"no parquet file {where!r} (data.{split}){did_you_mean(path)}")
    return files


def open_parquet(file: Path) -> Any:
    """A `pyarrow.parquet.ParquetFile`.

    Raises:
        UsageError: if it is damaged or something else.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(file, memory_map=True)
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"{str(file)!r} cannot be read as a parquet file: {one_line(error)}") from error


def one_line(error: Exception) -> str:
    """An error's message for the middle of a sentence."""
    return " ".join(str(error).split()).rstrip(".")
