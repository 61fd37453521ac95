#!/usr/bin/env bash
# What training costs on a CUDA GPU, and whether it repeats itself there; figures are lines of JSON in one file.
#
#     bash bench/gpu.sh OUT.jsonl [--quick] [--device cpu] [--parts steps,feeding,repeat]
#
# Needs a Python with modelaug and torch built for CUDA, and installs nothing. `make .venv/.installed` makes one, if the
# index that pip uses has torch for CUDA; `PYTHON=...` names another. `--device cpu --quick` tries the script without a
# GPU, in some minutes. In turn, all by default:
#   - steps: of both networks in 32, bf16-mixed and 16-mixed (the last on a GPU alone): bench/networks.py
#   - feeding: live pairs, from page-locked memory and not, against a cached batch, at 256 x 256 and 96^3:
#     bench/feeding.py
#   - repeat: whether two trainings from one seed leave the same weights: bench/networks.py
# A line has "what", and the figures of that script. A part that fails has a line too, with "failed"; the others go on.
set -euo pipefail

out=$(realpath -m "${1:?name the file for the figures: bash bench/gpu.sh OUT.jsonl}")
shift
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
device=cuda quick=() parts=steps,feeding,repeat
while (($#)); do
    case $1 in
        --quick) quick=(--quick) ;;
        --device) device=${2:?name the device: cuda or cpu}; shift ;;
        --parts) parts=${2:?name the parts: steps,feeding,repeat}; shift ;;
        *) echo "no such option: $1; pass --quick, --device cpu or --parts steps,feeding,repeat" >&2; exit 2 ;;
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

# wanted PART: whether a part is to be run.
wanted() {
    [[ ,$parts, == *,$1,* ]]
}

for part in ${parts//,/ }; do
    [[ ,steps,feeding,repeat, == *,$part,* ]] || { echo "no such part: $part; pass steps, feeding or repeat" >&2; exit 2; }
done
ours=(PyramidNetwork FlowNetS)
for precision in "${precisions[@]}"; do
    wanted steps || break
    note "steps in $precision" networks.py --parts speed --networks "${ours[@]}" --precision "$precision"
done
plane=(--grids 256x256 --batch 8 --subjects 16)
space=(--network PyramidNetwork --grids 96x96x96 --batch 2 --subjects 16)
if [ ${#quick[@]} != 0 ]; then
    plane=(--grids 64x64 --batch 2 --subjects 6)
    space=(--network PyramidNetwork --grids 36x24x24 --batch 1 --subjects 6)
fi
for network in "${ours[@]}"; do
    wanted feeding || break
    note "feeding $network in the plane" feeding.py --network "$network" "${plane[@]}"
done
for precision in 32 bf16-mixed; do
    wanted feeding || break
    note "feeding PyramidNetwork in space, $precision" feeding.py "${space[@]}" --precision "$precision"
done
for precision in "${precisions[@]}"; do
    wanted repeat || break
    note "two trainings in $precision" networks.py --parts repeat --precision "$precision"
done
echo "$out: $(wc -l < "$out") lines, $failures failed"
exit $((failures > 0))
