"""`python -m ssl.board`: the same as `selfsup board`."""

import sys

from selfsup.commands import main

if __name__ == "__main__":
    sys.exit(main(["board", *sys.argv[1:]]))
