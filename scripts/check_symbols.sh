#!/bin/sh
# The library exports the functions of rcnn.h and nothing else, and calls nothing that prints or ends the process. The
# module of the cuda backend exports its entry alone. usage: check_symbols.sh LIBRCNN.SO [LIBRCNN_CUDA.SO]
set -eu
source=$(cd "$(dirname "$0")/.." && pwd)
exported=$(nm -D --defined-only "$1" | awk '{print $3}' | sort -u)
declared=$(grep -ohE 'rcnn_[a-z0-9_]+\(' "$source/include/rcnn/rcnn.h" | tr -d '(' | sort -u)
bad=0
for symbol in $exported; do
    if ! printf '%s\n' "$declared" | grep -qx "$symbol"; then
        echo "exported but not in rcnn.h: $symbol"
        bad=1
    fi
done
for symbol in $(sed -n '/^RCNN_API/,/;/p' "$source/include/rcnn/rcnn.h" | grep -v '^#' | grep -oE 'rcnn_[a-z0-9_]+\(' | tr -d '(' | sort -u); do
    if ! printf '%s\n' "$exported" | grep -qx "$symbol"; then
        echo "declared but not exported: $symbol"
        bad=1
    fi
done
for symbol in exit _exit abort printf puts putchar perror signal sigaction system popen; do
    if nm -D --undefined-only "$1" | awk '{print $2}' | sed 's/@.*//' | grep -qx "$symbol"; then
        echo "the library calls $symbol"
        bad=1
    fi
done
if nm -D --undefined-only "$1" | grep -qiE ' (cuda|cudnn|cublas|cu[A-Z])'; then
    echo "the library calls CUDA itself"
    bad=1
fi
if [ $# -gt 1 ]; then
    entries=$(nm -D --defined-only "$2" | awk '{print $3}')
    if [ "$entries" != rcnn_backend_module_entry ]; then
        echo "$2 exports:" $entries
        bad=1
    fi
fi
[ $bad = 0 ] && echo "$(printf '%s\n' "$exported" | wc -l) exported symbols, all in rcnn.h"
exit $bad
