"""What the guard left in a run's folder."""

import csv
import io
from pathlib import Path

from selfsup.files import read_text

FILE = "warnings.csv"


def warned(folder: Path) -> list[str]:
    """Names of the failures in a run's ``warnings.csv``, each once; none where there is no such file."""
    path = folder / FILE
    if not path.exists():
        return []
    rows = csv.DictReader(io.StringIO(read_text(path)))
    return list(dict.fromkeys(row["name"] for row in rows if row.get("name")))
