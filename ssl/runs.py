"""`python -m ssl.runs`: the same as `selfsup runs`."""

import sys

from selfsup.commands import main

if __name__ == "__main__":
    sys.exit(main(["runs", *sys.argv[1:]]))
