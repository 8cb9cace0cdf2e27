#!/usr/bin/env bash
# Clients connect, receive, send and leave while the server is replaced again and again: is any of them refused or cut?
# A good answer: none, and every SHA-256 right; with a socket of the server's own, and with one of a service manager.
# Usage: stress/upgrades.sh [CLIENTS=1000] [UPGRADES=10]
. "$(dirname "$0")/lib.sh"
mkdir -p "$work/root"
head -c 262144 /dev/urandom >"$work/root/file.bin"
python3 "$here/stress/upgrades.py" "$programs/ftpserver" "$work" "${1:-1000}" "${2:-10}"
