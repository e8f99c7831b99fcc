"""A stand-in for the adb client with a phone behind it: a folder for its files, and this machine's shell for its own.

Started as a program named `adb`; `behaviour.json` beside it says what the phone does, `calls.jsonl` takes
the command lines. Commands are really run, also on when the client is killed, as on a phone.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROPERTIES = {
    "ro.product.model": "Test Phone",
    "ro.product.cpu.abi": "arm64-v8a",
    "ro.build.version.release": "14",
    "ro.build.fingerprint": "test/phone:14",
    "ro.board.platform": "taro",
}


def on_the_phone(text):
    return text.replace("/data/local/tmp", f"{HERE}/data").replace("/sys/", f"{HERE}/sys/")


def main(arguments):
    behaviour = json.loads((HERE / "behaviour.json").read_text())
    with (HERE / "calls.jsonl").open("a") as calls:
        calls.write(json.dumps(arguments) + "\n")
    if arguments[:1] == ["-s"]:
        arguments = arguments[2:]
    if arguments == ["devices"]:
        for line in behaviour.get("server_says", []):
            print(line)
        print("List of devices attached")
        for serial, state in behaviour.get("devices", {"PHONE1": "device"}).items():
            print(f"{serial}\t{state}")
        return 0
    if (HERE / "gone").exists():
        print("adb: device 'PHONE1' not found", file=sys.stderr)
        return 1
    if arguments[0] in behaviour.get("hang", []):
        time.sleep(60)
    if arguments[0] in behaviour.get("fail", []):
        print(f"adb: error: {behaviour['fail_text']}", file=sys.stderr)
        return 1
    if arguments[0] == "push":
        shutil.copyfile(arguments[1], on_the_phone(arguments[2]))
        print(f"{arguments[1]}: 1 file pushed")
        return 0
    command = " ".join(arguments[1:])
    if command == "getprop":
        for name, value in (PROPERTIES | behaviour.get("properties", {})).items():
            print(f"[{name}]: [{value}]")
        return 0
    environment = {"PATH": f"{HERE}/bin:{os.defpath}", "PHONE": str(HERE)}
    return subprocess.run(["/bin/sh", "-c", on_the_phone(command)], env=environment).returncode


sys.exit(main(sys.argv[1:]))
