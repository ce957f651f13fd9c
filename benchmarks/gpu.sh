#!/usr/bin/env bash
# Everything that one GPU has to tell, most important first; results are written as they come.
#
#     benchmarks/gpu.sh OUT [DATA]
#
# OUT: a folder for the results. DATA: a folder that holds minilm/ (a pretrained encoder),
# LF-Finna-3K/ and LF-WordNet-106K/ (benchmarks/gpu_data.py makes it); without it the real sets are
# left out. Each part is a process
# of its own with a limit of its own. The exit status tells whether a test failed.
set -uo pipefail
cd "$(dirname "$0")/.."
out=$(realpath -m "$1") data=${2:-}
mkdir -p "$out"
[ -z "$data" ] || find "$data" -name '*.txt.gz' -exec gunzip -f {} +
export PYTHONPATH=. PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1 OMP_NUM_THREADS=${OMP_NUM_THREADS:-8}
workers=()
python3 -c "import xdist" 2>/dev/null && workers=(-n 8)

part() {  # seconds, name, command ...
    local limit=$1 name=$2 began=$SECONDS
    shift 2
    timeout "$limit" "$@" >> "$out/log.txt" 2>&1
    local status=$?
    echo "$name: exit $status after $((SECONDS - began)) s" | tee -a "$out/summary.txt"
    return $status
}

part "${TEST_LIMIT:-200}" tests env OMP_NUM_THREADS=1 python3 -m pytest -q "${workers[@]}" -p no:cacheprovider \
    -o filterwarnings=default --tb=short \
    tests/test_triton.py tests/test_kernels.py tests/test_gpu.py
failed=$?
part 120 "classifier, renee" python3 benchmarks/gpu.py --only classifier renee --out "$out/steps"
if [ -n "$data" ]; then
    part 100 "WordNet, bag" python3 benchmarks/gpu_estimators.py "$data/LF-WordNet-106K" \
        --estimators UniDEC DualEncoderXC --out "$out/estimators.jsonl"
    part 150 "Finna, MiniLM" python3 benchmarks/gpu_estimators.py "$data/LF-Finna-3K" \
        --encoder "$data/minilm" --epochs 1 --out "$out/estimators.jsonl"
fi
part 90 "dual, scoring, host" python3 benchmarks/gpu.py --only host scoring dual --out "$out/rest"
cat "$out/summary.txt" "$out"/*/gpu.md 2>/dev/null
exit $failed
