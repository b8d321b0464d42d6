"""`python -m ssl.curate`: the same as `selfsup curate`."""

import sys

from selfsup.commands import main

if __name__ == "__main__":
    sys.exit(main(["curate", *sys.argv[1:]]))
