"""`python -m openankh`: the same as the command `openankh`."""

import sys

from openankh.cli import main

if __name__ == "__main__":
    sys.exit(main())
