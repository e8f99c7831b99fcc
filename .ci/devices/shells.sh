#!/usr/bin/env bash
# zsh and fish, in which shell completion is tried besides bash.
set -euo pipefail
command -v zsh >/dev/null && command -v fish >/dev/null && exit 0
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends zsh fish >/dev/null
