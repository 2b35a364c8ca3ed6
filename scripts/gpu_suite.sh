#!/bin/sh
# Builds, tests and measures on a machine with an NVIDIA GPU; what it finds lands in a folder.
#
#   scripts/gpu_suite.sh [-o DIR] [-b BUILD] [-c COMMIT] [-n NUCLEI_DIR] STEP...
#
# Steps: build, test (ctest label gpu and the op list, JUnit), sanitize (compute-sanitizer memcheck, racecheck, initcheck),
# accuracy (mask AP of fp32, fp16, bf16 on the nuclei validation set: NUCLEI_DIR holds img/ and instances_val.json),
# bench (against torchvision, alternating), quick (bench of our side only), study (the study's table with PyTorch's rows,
# bench/study.py; RCNN_GPU_STUDY: more options), soak (10,000 images of 50 sizes).
# COMMIT is written into the results where the tree has no .git.
set -u
cd "$(dirname "$0")/.."
out=out/gpu build=build/cuda commit=$(git describe --always --dirty 2>/dev/null || echo unknown) nuclei=carry/nuclei
while getopts o:b:c:n: option; do
    case $option in
    o) out=$OPTARG ;;
    b) build=$OPTARG ;;
    c) commit=$OPTARG ;;
    n) nuclei=$OPTARG ;;
    *) exit 2 ;;
    esac
done
shift $((OPTIND - 1))
mkdir -p "$out"
model=models/mask_rcnn_r50_fpn_nuclei.safetensors
rcnn=$build/rcnn
export RCNN_CUDA_MODULE="$PWD/$build/librcnn_cuda.so" RCNN_CACHE_DIR="$out/cache"
failed=0

say() { printf '\n== %s\n' "$*"; }

step_build() {
    cmake --preset cuda -B "$build" -DRCNN_CUDA_ARCHITECTURES="${RCNN_GPU_ARCH:-90}" -DRCNN_COMMIT="$commit" >"$out/configure.log" 2>&1 &&
        cmake --build "$build" >"$out/build.log" 2>&1 || { tail -n 30 "$out/configure.log"; tail -n 30 "$out/build.log"; return 1; }
}

step_test() {
    ctest --test-dir "$build" -R "^gpu|test_(ops|spans|stages|end_to_end|nuclei|session|edges)$" -E emulated --output-on-failure \
        --timeout 150 --output-junit "$(readlink -f "$out")/ctest_gpu.xml" -j 4 >"$out/ctest.log" 2>&1
    status=$?
    grep -E 'Test +#|tests passed|tests failed|did not run|Skipped|Failed|Total Test' "$out/ctest.log" | tail -60
    return $status
}

# Every tool over the op list, a kind of op a process, and over one whole run; all at once: each alone leaves most of the
# machine idle. cuBLASLt's own kernels (nvjet) synchronise in ways that the tools of CUDA 13.0 do not follow, least of all within
# a graph's conditional node. racecheck: what it reports within them is counted apart, fc and deconv, which make it break off, are
# left out (told to exclude kernels, it breaks off in others). memcheck leaves them out in deconv.
sanitize_one() {
    log=$out/sanitizer_$1_$2.log
    what=$2
    tool=$1
    shift 2
    timeout 240 compute-sanitizer --tool "$tool" --print-limit 0 --error-exitcode 9 "$@" >"$log" 2>&1
    status=$?
    theirs=$(grep 'Race reported' "$log" | grep -c nvjet)
    ours=$(grep 'Race reported' "$log" | grep -vc nvjet)
    if [ $status = 9 ] && [ "$theirs" -gt 0 ] && [ "$ours" = 0 ] && ! grep -qE 'Internal|returned an error' "$log"; then
        status=0
    fi
    echo "$tool, $what: exit $status: $(grep -E 'ERROR SUMMARY|RACECHECK SUMMARY' "$log" | tail -n 1); reports within nvjet: $theirs, elsewhere: $ours" >"$log.line"
    return $status
}

step_sanitize() {
    pids= status=0
    for tool in ${RCNN_GPU_TOOLS:-memcheck racecheck initcheck}; do
        for kind in preprocess conv fc deconv maxpool upsample_add roi_align mask_logit rpn_select nms box_select detect; do
            type="--type f16"
            case $tool,$kind in
            *,rpn_select | *,nms | *,box_select | *,detect) type= ;; # only in fp32
            racecheck,fc | racecheck,deconv) continue ;;
            esac
            exclude=
            [ $tool,$kind = memcheck,deconv ] && exclude="--kernel-name-exclude kns=nvjet"
            sanitize_one $tool $kind $exclude "$build/tests/test_ops" --backend cuda $type "^$kind:" &
            pids="$pids $!"
        done
        sanitize_one $tool run "$rcnn" detect samples/tissue.jpg -m $model --device cuda --masks rle --json "$out/$tool.json" &
        pids="$pids $!"
    done
    for pid in $pids; do
        wait "$pid" || status=1
    done
    cat "$out"/sanitizer_*.line
    rm -f "$out"/sanitizer_*.line
    return $status
}

step_accuracy() {
    status=0
    for precision in fp32 tf32 fp16 bf16; do
        timeout 120 "$rcnn" eval -m $model --images "$nuclei/img" -a "$nuclei/instances_val.json" --max-dets 1,10,400 --device cuda \
            --precision $precision --json "$out/eval_$precision.json" >"$out/eval_$precision.log" 2>&1 || status=1
        echo "$precision: $(grep -E 'AP' "$out/eval_$precision.log" | head -8 | tr '\n' ' ')"
    done
    return $status
}

bench_image() { ls "$nuclei"/bench.png 2>/dev/null || echo samples/crowded.png; }

step_bench() {
    timeout 400 python3 bench/compare_gpu.py --build "$build" --image "$(bench_image)" --model $model --commit "$commit" --work "$out/work" \
        ${RCNN_GPU_BENCH:-} >"$out/gpu_compare.json" 2>"$out/bench.log" || { tail -20 "$out/bench.log"; return 1; }
    python3 - "$out/gpu_compare.json" <<'PY'
import json, sys
d = json.load(open(sys.argv[1]))
for side in ("rcnn", "peer"):
    for name, v in d.get(side, {}).items():
        if isinstance(v, dict) and "median_ms" in v:
            print(f"{side} {name}: {v['median_ms']:.3f} ms ({v['p10_ms']:.3f}..{v['p90_ms']:.3f})",
                  {k: v[k] for k in ("images_per_s", "detections", "device_mb", "first_run_ms", "stages_ms", "host_syncs") if k in v})
print({k: v for k, v in d.items() if "_over_rcnn" in k or k == "ceilings"})
PY
}

step_quick() { RCNN_GPU_BENCH="--no-peer --rounds 2 --samples 60 ${RCNN_GPU_BENCH:-}" step_bench; }

step_study() {
    RCNN_CACHE_DIR="$out/cache" timeout 500 python3 bench/study.py --build "$build" --model $model --image "$(bench_image)" \
        --out "$out/study" --tune --max-seconds ${RCNN_GPU_STUDY_SECONDS:-150} ${RCNN_GPU_STUDY:-} 2>"$out/study.log" || { tail -n 5 "$out/study.log"; return 1; }
}

step_soak() {
    timeout 400 "$build/bench/bench_gpu" -m $model --image "$(bench_image)" --soak 10000 --sizes 50 >"$out/soak.jsonl" 2>"$out/soak.log" ||
        { tail -5 "$out/soak.log"; return 1; }
    cat "$out/soak.jsonl"
}

for step in "$@"; do
    say "$step"
    start=$(date +%s)
    "step_$step" || { echo "$step: FAILED"; failed=1; }
    echo "($step took $(($(date +%s) - start)) s)"
done
rm -rf "$out/work"/*.safetensors
exit $failed
