"""Tables that people write: CSV, as spreadsheets of any country save it."""

import csv
import io
from pathlib import Path

from selfsup.errors import UsageError
from selfsup.text import shown


def read_csv(path: Path, setting: str) -> list[dict[str, str]]:
    """The rows of a table by the names in its first line, UTF-8 with commas, semicolons or tabs.

    Args:
        setting: that names the file, for messages.

    Raises:
        UsageError: it is not there, or not such a table.
    """
    try:
        text = path.read_bytes().removeprefix(b"\xef\xbb\xbf").decode("utf-8")
    except FileNotFoundError as error:
        raise UsageError(f"{setting}: there is no '{shown(path)}'") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{setting}: '{shown(path)}' cannot be read as UTF-8 text: {error}") from error
    head = text.partition("\n")[0]
    separator = next((each for each in ",;\t" if each in head), ",")
    try:
        return list(csv.DictReader(io.StringIO(text, newline=""), delimiter=separator))
    except csv.Error as error:
        raise UsageError(f"{setting}: '{shown(path)}' is not a CSV table: {error}") from error
