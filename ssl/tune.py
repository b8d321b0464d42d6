"""`python -m ssl.tune`: the same as `selfsup tune`."""

import sys

from selfsup.commands import main

if __name__ == "__main__":
    sys.exit(main(["tune", *sys.argv[1:]]))
