"""Tasks that publish a release, verify and fetch one."""

from __future__ import annotations

from invoke import task

from pipeline.task_frame import exits, help_for, needs, show, target_list


@task(
    help=help_for(
        "workload",
        "json",
        version="MAJOR.MINOR.PATCH, which CHANGELOG.md has and no tag of another commit",
        targets="names of built targets, separated by commas; left out: all that are built",
        to="folder, fsspec URL, s3://, gs://, oci://, github://OWNER/REPO or hf-layout://DIR; left out: nowhere",
        key="file of the private key; left out: the PEM in the environment's RELEASE_SIGNING_KEY",
        accept_inconclusive="release what was measured and not decided; the manifest says so",
        allow_regression="why a target may be worse than in the previous release; the manifest says so",
        timeout="seconds that the destination is waited for, each time",
    )
)
@exits
@needs("version")
def release(
    context,
    version="",
    targets="",
    workload="mnist",
    to="",
    key="",
    accept_inconclusive=False,
    allow_regression="",
    timeout="30",
    json=False,
):
    """Turn passing builds into a signed release of byte-identical files, and publish it with --to.

    Example: invoke release --version=1.2.0 --targets=mobile --key=release.key --to=s3://models/digits
    """
    from pipeline.lookup import project_root
    from pipeline.project import open_project
    from pipeline.release.make_release import ReleaseOptions, make_release
    from pipeline.release.patience import patience
    from pipeline.report.terminal import terminal_watch

    watch = terminal_watch()
    options = ReleaseOptions(
        version=version,
        targets=target_list(targets, workload) if targets else (),
        workload=workload,
        to=to,
        key=key,
        accept_inconclusive=accept_inconclusive,
        allow_regression=allow_regression,
        patience=patience(timeout),
    )
    try:
        document = make_release(options, open_project(project_root(), watch), watch)
    finally:
        watch.close()
    show(document, json, "print_release", "release")


@task(
    name="verify-release",
    help=help_for(
        "json",
        **{"from": "where it was published, or a release's own folder"},
        key="the publisher's public key in PEM; left out: release.pub in the project's root",
        version="the version, or latest",
        quick="leave out running the files over the test split again",
        timeout="seconds that the other side is waited for, each time",
    ),
)
@exits
@needs("from_")
def verify_release(context, from_="", key="", version="latest", quick=False, timeout="30", json=False):
    """Check hashes, signature, provenance and BOM of a release, and run its files; exit 5 if one scores otherwise.

    Example: invoke verify-release --from=s3://models/digits --key=release.pub
    """
    from pipeline.lookup import project_root
    from pipeline.release.patience import patience
    from pipeline.release.verify_release import VerifyOptions
    from pipeline.release.verify_release import verify_release as verify
    from pipeline.report.terminal import terminal_watch
    from pipeline.verdict import exit_code

    options = VerifyOptions(source=from_, key=key, version=version, quick=quick, patience=patience(timeout))
    watch = terminal_watch()
    try:
        document = verify(options, project_root(), watch)
    finally:
        watch.close()
    show(document, json, "print_verified", "release")
    return exit_code(document.verdict)


@task(
    help=help_for(
        "json",
        **{"from": "where it was published"},
        target="name of a target of the release",
        version="the version, or latest",
        to="folder that gets <version>/ with the files",
        key="the publisher's public key in PEM; left out: release.pub in the project's root",
        allow_rollback="take a latest release that is older than one seen before",
        timeout="seconds that the other side is waited for, each time",
    )
)
@exits
@needs("from_", "target")
def fetch(
    context, from_="", target="", version="latest", to=".", key="", allow_rollback=False, timeout="30", json=False
):
    """Fetch a target's files of a published release, each verified before it appears.

    Example: invoke fetch --from=s3://models/digits --target=mobile --key=release.pub
    """
    from pipeline.lookup import project_root
    from pipeline.release.fetch import FetchOptions
    from pipeline.release.fetch import fetch as fetch_files
    from pipeline.release.patience import patience
    from pipeline.report.terminal import terminal_watch

    options = FetchOptions(
        source=from_,
        target=target,
        version=version,
        to=to,
        key=key,
        allow_rollback=allow_rollback,
        patience=patience(timeout),
    )
    watch = terminal_watch()
    try:
        document = fetch_files(options, project_root(), watch)
    finally:
        watch.close()
    show(document, json, "print_fetched", "release")
