"""Where the deployment files lie, and how they begin."""

import itertools
import re
from pathlib import Path

SERVING = Path(__file__).parents[2] / "serving"


def head_of(path):
    """Return the comment at the top of a file."""
    lines = path.read_text("utf-8").splitlines()
    lines = lines[1:] if lines[0].startswith("#!") else lines
    return "\n".join(itertools.takewhile(lambda line: re.match("#|$", line), lines))
