"""moto's S3 over HTTP in a process of its own, on a free port of this machine.

    with moto_s3() as url: ...

It keeps checksums that it never checks, so a test that means them puts `faulty_server` before it.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping

# What botocore is told by. Without the last it asks the machine's own cloud for credentials, when it finds none.
SECRET = "hushhushhushhushhushhushhushhushhushhush"  # whoever sees this in a message has found a leak
PROGRAM = """
import logging, sys
from moto.server import ThreadedMotoServer
logging.getLogger("werkzeug").disabled = True
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
server.stop()
"""


@contextlib.contextmanager
def moto_s3() -> Iterator[str]:
    """Yield the server's URL; the server ends with us, however we end, since it reads our end of a pipe."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin
    assert process.stdout
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.stdin.close()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def s3_environment(url: str) -> Mapping[str, str]:
    """Return the environment in which botocore talks to `url` and to nothing else."""
    return {
        "AWS_ENDPOINT_URL_S3": url,
        "AWS_ACCESS_KEY_ID": "AKIATEST",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_SESSION_TOKEN": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "NO_PROXY": "127.0.0.1",
    }


def make_bucket(url: str, bucket: str) -> None:
    """Create a bucket; anonymous requests are good enough for moto."""
    import urllib.request

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    opener.open(urllib.request.Request(f"{url}/{bucket}", method="PUT"), timeout=20).close()
