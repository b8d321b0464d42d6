"""``python -m selfsup.commands`` is ``selfsup``."""

import sys

from selfsup.commands import main

if __name__ == "__main__":
    sys.exit(main())
