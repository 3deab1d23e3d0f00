"""``python -m tests.bench NAME [--json] …``: one benchmark, one JSON object on the last line, keys with units."""

import sys

from tests.figures import main

if __name__ == "__main__":
    sys.exit(main("bench", sys.argv[1:]))
