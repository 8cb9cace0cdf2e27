#!/usr/bin/env bash
# A mirror of 2,000 files is interrupted at random moments, in both directions: is the copy right each time?
# A good answer: at each moment, every file of the copy has its old or its new content; the next run completes the copy;
# nothing of the source is lost, and nothing that was left out.
# Usage: stress/interrupted-mirror.sh [MOMENTS=50] [FILES=2000] [SEED=1]
. "$(dirname "$0")/lib.sh"
mkdir -p "$work/root"
start_server --write --no-fsync --max-per-ip 1000
python3 "$here/stress/interrupted-mirror.py" "$programs" "$work" "$port" "${1:-50}" "${2:-2000}" "${3:-1}"
