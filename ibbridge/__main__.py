"""`python -m ibbridge` is the command `ibbridge`."""

from __future__ import annotations

import sys

from ibbridge.cli import main

if __name__ == "__main__":
    sys.exit(main())
