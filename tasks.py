"""The tasks of this project; another repository takes them over with the import alone."""

import sys

try:
    from pipeline.tasks import namespace  # noqa: F401  (Invoke looks for it here)
except ImportError as error:  # another Python, or one without Invoke: the message says what to type
    sys.exit(f"error: {error}")
