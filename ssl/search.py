"""`python -m ssl.search`: the same as `selfsup search`."""

import sys

from selfsup.commands import main

if __name__ == "__main__":
    sys.exit(main(["search", *sys.argv[1:]]))
