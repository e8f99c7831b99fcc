"""The records are a project of the pipeline like any other."""

from pipeline.tasks import namespace  # noqa: F401  (Invoke looks for it here)
