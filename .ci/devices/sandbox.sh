#!/usr/bin/env bash
# bubblewrap: the sandbox in which interpreters meet files that may come from anyone.
set -euo pipefail
command -v bwrap >/dev/null || DEBIAN_FRONTEND=noninteractive apt-get install -y -qq bubblewrap >/dev/null
