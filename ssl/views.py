"""`python -m ssl.views`: the same as `selfsup views`."""

import sys

from selfsup.commands import main

if __name__ == "__main__":
    sys.exit(main(["views", *sys.argv[1:]]))
