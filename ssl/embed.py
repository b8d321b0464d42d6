"""`python -m ssl.embed`: the same as `selfsup embed`."""

import sys

from selfsup.commands import main

if __name__ == "__main__":
    sys.exit(main(["embed", *sys.argv[1:]]))
