#!/usr/bin/env bash
# Ray 2.60.0: the same cluster is reached by address="auto" and not by its HOST:PORT, from the same machine and user.
#
# A good guess: "auto" looks up the address of the cluster that runs here, and the address itself says the same; a
# program that takes an address from its user needs no more than the address. But a first local `ray.init()` leaves a
# token in ~/.ray/auth_token, and from then on `ray start --head` makes a cluster that wants it. "auto" and a local start
# send the token; an address does not, unless RAY_AUTH_MODE=token is set, and what is raised after some 20 seconds is
# "Failed to connect", which names neither the token nor the variable. So code that works by address on one machine
# stops on another on which somebody has once started Ray locally.
#
# Output seen:
#   auto: connected
#   address: ConnectionError
#   address with RAY_AUTH_MODE=token: connected
set -euo pipefail
work=$(mktemp -d)
export HOME="$work" RAY_USAGE_STATS_ENABLED=0
unset RAY_ADDRESS RAY_AUTH_MODE RAY_AUTH_TOKEN RAY_AUTH_TOKEN_PATH
ray() { "$work/venv/bin/ray" "$@"; }
trap 'ray stop --force > /dev/null 2>&1 || true; rm -rf "$work"' EXIT
port=6399
python3.11 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check ray==2.60.0
cat > "$work/try.py" <<'P'
import sys
import ray
try:
    ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
    print("connected")
except ConnectionError as error:
    print(type(error).__name__)
P
"$work/venv/bin/python" -c 'import ray; ray.init(num_cpus=1, include_dashboard=False); ray.shutdown()' > "$work/log" 2>&1
test -s "$work/.ray/auth_token"
ray start --head --port $port --num-cpus 1 --include-dashboard=false > "$work/log" 2>&1
found=$("$work/venv/bin/python" "$work/try.py" auto 2> "$work/log" | tail -1)
echo "auto: $found"
test "$found" = connected
found=$("$work/venv/bin/python" "$work/try.py" 127.0.0.1:$port 2> "$work/log" | tail -1)
echo "address: $found"
test "$found" = ConnectionError
found=$(RAY_AUTH_MODE=token "$work/venv/bin/python" "$work/try.py" 127.0.0.1:$port 2> "$work/log" | tail -1)
echo "address with RAY_AUTH_MODE=token: $found"
test "$found" = connected
