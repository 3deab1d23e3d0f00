"""``python -m tests.accuracy NAME [--seed N] [--json] …``: one accuracy figure, one JSON object on the last line."""

import sys

from tests.figures import main

if __name__ == "__main__":
    sys.exit(main("accuracy", sys.argv[1:]))
