"""Tasks that show what was built to a person."""

from __future__ import annotations

from invoke import task

from pipeline.task_frame import exits, help_for, show


@task(
    help=help_for(
        "workload",
        "json",
        target="one build, with all its parts; left out: the whole history",
        compare="the target's comparison of techniques instead",
        out="the file to write; left out: report.html beside what it is about",
        times="estimate each operator's time as well, where no measurement is stored",
        serve="show it on this machine and reload it while a build runs, until Ctrl-C",
        port="with --serve: port on 127.0.0.1, 8377 if left out; 0 takes any",
    )
)
@exits
def report(context, target="", workload="", compare=False, out="", times=False, serve=False, port="", json=False):
    """Write one HTML file of a build, a comparison or the whole history, to look at.

    Example: invoke report --target=mobile
    """
    from pathlib import Path

    from pipeline.lookup import project_root
    from pipeline.project import open_project
    from pipeline.report.live import served
    from pipeline.report.request import checked_report_request
    from pipeline.report.terminal import terminal_watch
    from pipeline.report.write_report import write_report

    root, watch = project_root(), terminal_watch()
    found = checked_report_request(root, target, workload, compare=compare, out=out, serve=serve, port=port, json=json)
    project = open_project(root, watch)
    options = {"compare": compare, "times": times, "out": Path(out).resolve() if out else None}
    if serve:
        return served(project, watch, found.target, found.workload, found.port, options)
    try:
        document = write_report(project, watch, found.target, found.workload, **options)
    finally:
        watch.close()
    show(document, json, "print_report", "written")
    return 0
