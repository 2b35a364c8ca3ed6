#!/bin/sh
# Keeps the include rules of docs/architecture.md: which part of the source may include which. Prints each breach.
set -u
cd "$(dirname "$0")/.."
bad=0

# allow PART "PATTERN": project headers that files of src/PART may include (besides their own folder and base/)
allow() {
    breaches=$(grep -rnE '^#include "' "src/$1" --include='*.c' --include='*.h' --include='*.cu' --include='*.cuh' 2>/dev/null |
        grep -vE "#include \"(base/|$1/|rcnn/$2)" || true)
    if [ -n "$breaches" ]; then
        echo "$breaches" | sed "s|^|layer breach: |"
        bad=1
    fi
}

allow base ""
allow image ""
allow mask ""
allow model ""
allow eval ""
allow export "|model/"
allow graph "|stages/stages\\.def"
allow stages "|graph/|model/"
allow backend "|graph/|emulate/emulate\\.h"
allow session "|graph/|model/|stages/|backend/backend\\.h|mask/|image/"
allow calibrate "|graph/|model/|stages/|backend/backend\\.h|session/"

breaches=$(grep -rnE '^#include "(base|image|mask|model|graph|stages|backend|session|calibrate|export|eval)/' tools examples 2>/dev/null)
if [ -n "$breaches" ]; then
    echo "$breaches" | sed 's|^|layer breach, only rcnn/rcnn.h here: |'
    bad=1
fi
others=$(grep -rlE 'include <(oneapi/dnnl/)?dnnl' src | grep -v 'src/backend/cpu/onednn' || true)
if [ -n "$others" ]; then
    echo "dnnl.h outside onednn.c: $others"
    bad=1
fi
others=$(grep -rlE 'include <(cuda|cudnn|cublas)' src | grep -v 'src/backend/cuda/' || true)
if [ -n "$others" ]; then
    echo "CUDA headers outside src/backend/cuda: $others"
    bad=1
fi
calls=$(grep -rnE '\b(exit|abort|printf|puts|putchar|perror|signal|strtok|gets|sprintf|system)\(' src --include='*.c' --include='*.cu' --include='*.cuh' |
    grep -vE '(snprintf|vsnprintf|rcnn_[a-z_]*printf)\(|/\*|^[^:]*:[0-9]+: \*' || true)
if [ -n "$calls" ]; then
    echo "$calls" | sed 's|^|banned call in the library: |'
    bad=1
fi
exit $bad
