#!/usr/bin/env bash
# What training costs on a CUDA GPU, and whether it repeats itself there; figures are lines of JSON in one file.
#
#     bash bench/gpu.sh OUT.jsonl [--quick] [--device cpu]
#
# Needs a Python with modelaug and torch built for CUDA, and installs nothing. `make .venv/.installed` makes one, if the
# index that pip uses has torch for CUDA; `PYTHON=...` names another. `--device cpu --quick` tries the script without a
# GPU, in some minutes. In turn:
#   - steps of both networks in 32, bf16-mixed and 16-mixed (the last on a GPU alone): bench/networks.py
#   - live pairs, from page-locked memory and not, against a cached batch, at 256 x 256 and 96^3: bench/feeding.py
#   - whether two trainings from one seed leave the same weights: bench/networks.py
# A line has "what", and the figures of that script. A part that fails has a line too, with "failed"; the others go on.
set -euo pipefail

out=$(realpath -m "${1:?name the file for the figures: bash bench/gpu.sh OUT.jsonl [--quick] [--device cpu]}")
shift
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
device=cuda quick=()
while (($#)); do
    case $1 in
        --quick) quick=(--quick) ;;
        --device) device=${2:?name the device: cuda or cpu}; shift ;;
        *) echo "no such option: $1; pass --quick, or --device cpu" >&2; exit 2 ;;
    esac
    shift
done
if [ "$device" = cuda ] && ! "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    echo "torch sees no CUDA GPU here; pass --device cpu to try the script" >&2
    exit 1
fi
precisions=(32 bf16-mixed 16-mixed)
[ "$device" = cuda ] || precisions=(32 bf16-mixed)
mkdir -p "$(dirname "$out")"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failures=0

# note WHAT SCRIPT ARGUMENTS...: run a benchmark and add its figures, or that it failed, to the file.
note() {
    local what=$1 script=$2 code=0
    shift 2
    echo "== $what"
    rm -f "$folder/figures.json"
    "$python" "bench/$script" "$@" --device "$device" ${quick[@]+"${quick[@]}"} --json "$folder/figures.json" || code=$?
    [ $code = 0 ] || failures=$((failures + 1))
    "$python" - "$what" "$code" "$folder/figures.json" >> "$out" << 'PYTHON'
import json, pathlib, sys
what, code, path = sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3])
figures = json.loads(path.read_text()) if path.exists() else {}
print(json.dumps({"what": what, **figures, **({"failed": code} if code else {})}))
PYTHON
}

ours=(PyramidNetwork FlowNetS)
for precision in "${precisions[@]}"; do
    note "steps in $precision" networks.py --parts speed --networks "${ours[@]}" --precision "$precision"
done
plane=(--grids 256x256 --batch 8 --subjects 16)
space=(--network PyramidNetwork --grids 96x96x96 --batch 2 --subjects 16)
if [ ${#quick[@]} != 0 ]; then
    plane=(--grids 64x64 --batch 2 --subjects 6)
    space=(--network PyramidNetwork --grids 36x24x24 --batch 1 --subjects 6)
fi
for network in "${ours[@]}"; do
    note "feeding $network in the plane" feeding.py --network "$network" "${plane[@]}"
done
for precision in 32 bf16-mixed; do
    note "feeding PyramidNetwork in space, $precision" feeding.py "${space[@]}" --precision "$precision"
done
for precision in "${precisions[@]}"; do
    note "two trainings in $precision" networks.py --parts repeat --precision "$precision"
done
echo "$out: $(wc -l < "$out") lines, $failures failed"
exit $((failures > 0))
