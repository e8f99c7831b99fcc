"""The Invoke tasks, one module a group of verbs; `pipeline/tasks.py` collects them.

Nothing heavy is imported above the tasks' bodies: `invoke --list` has to be quick.
"""
