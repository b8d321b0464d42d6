"""`python -m ssl.report`: the same as `selfsup report`."""

import sys

from selfsup.commands import main

if __name__ == "__main__":
    sys.exit(main(["report", *sys.argv[1:]]))
