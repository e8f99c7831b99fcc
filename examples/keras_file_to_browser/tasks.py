"""The tasks of this repository: all of them come with the installed package."""

from pipeline.tasks import namespace  # noqa: F401
