"""A stand-in for the adb client with a phone behind it: records every command line, and answers as a phone would.

Started as a program named `adb`; `behaviour.json` beside it says what the phone does, `calls.jsonl` takes
the command lines.
"""

import json
import re
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
REPORT = """INFO: STARTING!
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
INFO: count=10 first=900 curr=410 min=400 max=900 avg=450 std=99 p5=400 median=420 p95=900

INFO: count={count} first={us} curr={us} min={us} max={us} avg={us} std=1 p5={us} median={us} p95={p95}

INFO: Inference timings in us: Init: 5000, First inference: 900, Warmup (avg): 450, Inference (avg): {us}
INFO: Memory footprint delta from the start of the tool (MB): init=1.5 overall=2.25
"""


def main(arguments):
    behaviour = json.loads((HERE / "behaviour.json").read_text())
    with (HERE / "calls.jsonl").open("a") as calls:
        calls.write(json.dumps(arguments) + "\n")
    if arguments[:1] == ["-s"]:
        arguments = arguments[2:]
    if arguments == ["devices"]:
        print("List of devices attached")
        for serial, state in behaviour.get("devices", {"PHONE1": "device"}).items():
            print(f"{serial}\t{state}")
        return 0
    if arguments[0] in behaviour.get("hang", []):
        time.sleep(60)
    if arguments[0] in behaviour.get("fail", []):
        print(f"adb: error: {behaviour['fail_text']}", file=sys.stderr)
        return 1
    if arguments[0] == "push":
        assert Path(arguments[1]).is_file()
        return 0
    command = " ".join(arguments[1:])
    if command.startswith("getprop"):
        print(PROPERTIES.get(arguments[2], ""))
    elif command == "dumpsys battery":
        print("Current Battery Service state:\n  level: 87\n  temperature: 315")
    elif command == "dumpsys thermalservice":
        print("IsStatusOverride: false\nThermal Status: 1")
    elif "scaling_governor" in command:
        print("schedutil\nschedutil\nwalt")
    elif "benchmark_model" in command and "--graph" in command:
        if "hang" in behaviour.get("tool", ""):
            time.sleep(60)
        if "tool" in behaviour:
            print(behaviour["tool"])
            print("exit=1")
        else:
            us = behaviour.get("us", {}).get(re.search(r"(\d+)\.tflite", command)[1], 400)
            print(behaviour.get("report", REPORT).format(count=50, us=us, p95=us * 2))
            print("exit=0")
    return 0


sys.exit(main(sys.argv[1:]))
