"""Tasks that help when something is in the way."""

from __future__ import annotations

import sys

from invoke import task

from pipeline.task_frame import exits, help_for, show

FIRST = """\
invoke --list                    all tasks
invoke --help build              a task's flags, with an example
invoke targets                   what can be built
invoke doctor                    whether this machine can, and what is missing
invoke build --target=mobile     train, compress, convert, verify and measure\
"""


@task()
def start(context):
    """Say what to type first: what `invoke` alone does.

    Example: invoke start
    """
    print(FIRST)


@task(help=help_for("json", quick="leave out loading TensorFlow, which takes seconds"))
@exits
def doctor(context, quick=False, json=False):
    """Say whether this Python and machine can build, and how to install what is missing; exit 4 if they cannot.

    Example: invoke doctor
    """
    from pipeline.doctor.examine import examine
    from pipeline.errors import EXIT_STEP
    from pipeline.lookup import project_root

    examination = examine(project_root(), lambda text: print(text, file=sys.stderr), quick=quick)
    show(examination, json, "print_examination", "doctor")
    return 0 if examination.main_job else EXIT_STEP
