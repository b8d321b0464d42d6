"""`python -m ssl.export`: the same as `selfsup export`."""

import sys

from selfsup.commands import main

if __name__ == "__main__":
    sys.exit(main(["export", *sys.argv[1:]]))
