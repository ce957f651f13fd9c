#!/usr/bin/env bash
# Everything that one GPU has to tell, most important first.
#
#     benchmarks/gpu.sh OUT [DATA]
#     SMALL=1 benchmarks/gpu.sh OUT [DATA]    # a rehearsal at tiny sizes, on a CPU too
#
# OUT: a folder for the results, 8 files; summary.md has all tables.
# DATA: the folder that benchmarks/gpu_data.py makes [.gpu_data, if it exists]. Without it, the
# packaged records and a small random encoder take the place of the real sets.
#
# Each part is a process with a limit of its own, and writes its results as they come. All parts
# together take at most TOTAL seconds [470]; the last one may use what the others leave. The exit
# status says whether a test failed; the table says what became of the other parts.
set -uo pipefail
out=$(realpath -m "$1") root=$(realpath "$(dirname "$0")/..") small=${SMALL:-} total=${TOTAL:-470}
data=$(realpath -m "${2:-$root/.gpu_data}")
cd "$root"
patience=${small:+4}  # a rehearsal is not about time, and its machine may be busy
total=$((total * ${patience:-1}))
mkdir -p "$out"
rm -f "$out"/{parts.tsv,tests.txt,log.txt,gpu.json,gpu.md,estimators.jsonl,compiled.md,summary.md}
export PYTHONPATH=. PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1 OMP_NUM_THREADS=${OMP_NUM_THREADS:-8}

part() {  # seconds, name, file for what it prints, command ...
    local limit=$1 name=$2 log=$out/$3 began=$SECONDS status=124
    shift 3
    limit=$((limit * ${patience:-1}))
    [ "$limit" -lt $((total - SECONDS)) ] || limit=$((total - SECONDS))
    if [ "$limit" -gt 0 ]; then
        printf '\n=== %s\n' "$name" >> "$log"
        timeout --signal="${signal:-TERM}" --kill-after=10 "$limit" "$@" >> "$log" 2>&1
        status=$?
    fi
    printf '%s\t%s\t%s\t%s\n' "$name" "$status" $((SECONDS - began)) "$limit" >> "$out/parts.tsv"
    echo "$name: exit $status after $((SECONDS - began)) s, at most $limit s"
    return $status
}

steps() {  # seconds, parts of gpu.py ...
    local limit=$1
    shift
    part "$limit" "$*" log.txt python3 benchmarks/gpu.py ${small:+--small} --only "$@" \
        --add --out "$out"
}

estimators() {  # seconds, their names, set, encoder, arguments ...
    local limit=$1 names=$2 set=$3 encoder=$4
    shift 4
    [ -z "$small" ] || set -- "$@" --rows 60 --labels 40 --epochs 1
    # shellcheck disable=SC2086  # several names
    part "$limit" "$names, ${set##*/}, ${encoder##*/}" log.txt python3 benchmarks/gpu_estimators.py \
        "$set" --estimators $names --encoder "$encoder" "$@" --out "$out/estimators.jsonl"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
words=packaged subjects=packaged encoder=$work/random
if [ -n "${2:-}" ] && [ ! -d "$data" ]; then
    echo "$data is no folder: make it with benchmarks/gpu_data.py" >&2
    exit 2
fi
if [ -d "$data" ]; then  # a copy: unpacked, it would be too large to be taken along again
    cp -r "$data/." "$work" && find "$work" -name '*.txt.gz' -exec gunzip -f {} +
    words=$work/LF-WordNet-106K subjects=$work/LF-Finna-3K encoder=$work/minilm
else
    python3 benchmarks/gpu_data.py --random-encoder --out "$work" >> "$out/log.txt" 2>&1
fi

workers=()
if python3 -c "import xdist" 2> /dev/null; then
    workers=(-n 8)
    [ -z "$small" ] || workers=(-n 2)
fi
# SIGINT: what has failed is told even where the limit ends the tests
signal=INT part 150 tests tests.txt \
    env --default-signal=INT OMP_NUM_THREADS=1 CUBLAS_WORKSPACE_CONFIG=:4096:8 \
    python3 -m pytest -q "${workers[@]}" --tb=short -p no:cacheprovider \
    -o filterwarnings=default -o faulthandler_timeout=60 \
    tests/test_gpu.py tests/test_triton.py tests/test_triton_compiler.py \
    tests/test_fused_linear.py tests/test_kernels.py
failed=$?
steps 80 classifier renee
estimators 100 "UniDEC DualEncoderXC" "$words" bag
# from label texts: else its first epoch, the most that a CPU has time for, learns next to nothing
from_texts=(--set classifier_init=label_texts)
estimators 45 ReneeClassifier "$words" bag --rows 20000 --epochs 1 "${from_texts[@]}"
few=(--rows 4000 --epochs 1)  # so that a CPU has been able to do the same, and no part is cut off
all=(--set encode_batch_size=1024)  # a step's texts at once
estimators 80 "DualEncoderXC UniDEC" "$subjects" "$encoder" "${few[@]}" "${all[@]}"
estimators 45 ReneeClassifier "$subjects" "$encoder" "${few[@]}" "${from_texts[@]}"
part 90 "compiled encoder" log.txt python3 benchmarks/compiled_encoder.py --model "$encoder" \
    ${small:+--small} --batch 64 512 --batches 10 --out "$out/compiled.md"
steps 70 unidec scoring host
steps 470 dual

python3 benchmarks/gpu_summary.py "$out"
exit $failed
