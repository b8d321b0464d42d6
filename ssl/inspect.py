"""`python -m ssl.inspect`: the same as `selfsup inspect`."""

import sys

from selfsup.commands import main

if __name__ == "__main__":
    sys.exit(main(["inspect", *sys.argv[1:]]))
