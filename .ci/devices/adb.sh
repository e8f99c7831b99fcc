#!/usr/bin/env bash
# Android's debug bridge: the client, of which the tests see the errors without a phone.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
apt-get install -y -qq adb >/dev/null
