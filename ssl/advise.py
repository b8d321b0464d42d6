"""`python -m ssl.advise`: the same as `selfsup advise`."""

import sys

from selfsup.commands import main

if __name__ == "__main__":
    sys.exit(main(["advise", *sys.argv[1:]]))
