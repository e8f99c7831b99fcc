"""Another repository's tasks: this is all it needs."""

from pipeline.tasks import namespace  # noqa: F401
