#!/bin/sh
# Installs a build folder into a scratch prefix and uses it as a stranger would: by CMake package, by pkg-config, from C and
# C++, and by the installed command. usage: check_install.sh BUILD_DIR
set -eu
source=$(cd "$(dirname "$0")/.." && pwd)
build=$(cd "$1" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
prefix=$scratch/prefix
cmake --install "$build" --prefix "$prefix" >/dev/null
libdir=$(dirname "$(find "$prefix" -name librcnn.so | head -n 1)")

cmake -S "$source/tests/consumer" -B "$scratch/consumer" -DCMAKE_PREFIX_PATH="$prefix" \
    -DEXAMPLE="$source/examples/detect.c" >/dev/null
cmake --build "$scratch/consumer" >/dev/null
echo "find_package: builds"

export PKG_CONFIG_PATH="$libdir/pkgconfig"
flags=$(pkg-config --cflags --libs rcnn)
# shellcheck disable=SC2086
cc -std=c11 -Wall -Wextra -Wpedantic -Werror "$source/examples/detect.c" -o "$scratch/by_pkgconfig" $flags -Wl,-rpath,"$libdir"
echo "pkg-config: builds"

printf '#include <rcnn/rcnn.h>\nint main(void) { return rcnn_version() == 0; }\n' >"$scratch/alone.c"
cp "$scratch/alone.c" "$scratch/alone.cpp"
# shellcheck disable=SC2086
cc -std=c11 -Wall -Wextra -Wpedantic -Werror "$scratch/alone.c" -o "$scratch/alone_c" $flags -Wl,-rpath,"$libdir"
# shellcheck disable=SC2086
c++ -std=c++17 -Wall -Wextra -Wpedantic -Werror "$scratch/alone.cpp" -o "$scratch/alone_cpp" $flags -Wl,-rpath,"$libdir"
"$scratch/alone_c"
"$scratch/alone_cpp"
echo "header: builds alone as C11 and C++17"

"$scratch/by_pkgconfig" "$source"/samples/*.png >"$scratch/out.txt"
head -n 3 "$scratch/out.txt"
cd "$scratch"
"$prefix/bin/rcnn" version
"$prefix/bin/rcnn" detect "$source"/samples/*.png -o "$scratch/pictures" --json "$scratch/out.json" >/dev/null
ls "$scratch/pictures"
test -s "$prefix/share/man/man1/rcnn.1"
echo "installed command: runs"

# With the toolkit's stand-in for the driver the module can be opened, and says that there is no GPU.
stub=$(find /usr/local/cuda/lib64/stubs /usr/local/cuda/lib/stubs -name libcuda.so 2>/dev/null | head -n 1)
if [ -e "$build/librcnn_cuda.so" ] && [ -n "$stub" ]; then
    test -e "$libdir/librcnn_cuda.so"
    ln -s "$stub" "$scratch/libcuda.so.1"
    LD_LIBRARY_PATH=$scratch "$prefix/bin/rcnn" doctor >"$scratch/doctor.txt" || true
    grep -q "no usable NVIDIA GPU" "$scratch/doctor.txt"
    echo "cuda module: opens"
fi
