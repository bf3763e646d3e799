"""A lock for what depends on mmengine's default scope."""

import threading

SCOPE_LOCK = threading.Lock()
"""Held while a detector runs or a data set is built.

Both set the default scope, which all threads share, for a time and restore the earlier one.
"""
