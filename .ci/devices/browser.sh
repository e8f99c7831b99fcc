#!/usr/bin/env bash
# The browser runner's Chromium, and the LiteRT.js that it serves to its page.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
command -v chromium > /dev/null || apt-get install -y -qq --no-install-recommends chromium > /dev/null
command -v npm > /dev/null || apt-get install -y -qq --no-install-recommends npm > /dev/null
npm install --silent --no-audit --no-fund --no-package-lock --prefix "$(dirname "$0")/../../pipeline/runners/_browser"
