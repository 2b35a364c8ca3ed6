#!/bin/sh
# The library exports the functions of rcnn.h and nothing else, and calls nothing that prints or ends the process.
# usage: check_symbols.sh LIBRCNN.SO
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
[ $bad = 0 ] && echo "$(printf '%s\n' "$exported" | wc -l) exported symbols, all in rcnn.h"
exit $bad
