"""`python -m ssl.train`: the same as `selfsup train`."""

import sys

from selfsup.commands import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
