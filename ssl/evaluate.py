"""`python -m ssl.evaluate`: the same as `selfsup evaluate`."""

import sys

from selfsup.commands import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
