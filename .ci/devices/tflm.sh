#!/usr/bin/env bash
# The compiler with which the tests read back the C array of model.cc.
set -euo pipefail
command -v g++ >/dev/null || DEBIAN_FRONTEND=noninteractive apt-get install -qq -y g++ >/dev/null
