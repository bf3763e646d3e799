"""What counts as a number in files of users."""

from __future__ import annotations

import sys
from numbers import Real


def is_number(value: object) -> bool:
    """Return whether a value is a finite number that fits in a float; True and False are none."""
    return isinstance(value, Real) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
