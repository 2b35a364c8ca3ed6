#!/bin/sh
# Installs the Debian/Ubuntu packages that building needs and that are not there yet. SETUP=0 only names them.
set -eu
required="gcc g++ cmake ninja-build pkg-config libjpeg-dev libpng-dev"
optional="libdnnl-dev libwebp-dev libcairo2-dev libprotobuf-c-dev protobuf-c-compiler"

if ! command -v dpkg-query >/dev/null 2>&1; then
    echo "setup: no dpkg here: install by hand the likes of: $required $optional"
    exit 0
fi

# Virtual names (libjpeg-dev) count as there when a package that provides them is.
installed=$(dpkg-query -W -f '${db:Status-Abbrev} ${Package} ${Provides}\n' 2>/dev/null | grep '^ii' || true)
missing=""
for package in $required $optional; do
    if ! printf '%s\n' "$installed" | grep -Eq "(^ii|[ ,])[[:space:]]*$package([ ,(]|\$)"; then
        missing="$missing $package"
    fi
done

# A tool that is on the path from elsewhere need not be installed again.
keep=""
for package in $missing; do
    case $package in
    gcc) command -v gcc >/dev/null 2>&1 && continue ;;
    g++) command -v g++ >/dev/null 2>&1 && continue ;;
    cmake) command -v cmake >/dev/null 2>&1 && continue ;;
    ninja-build) command -v ninja >/dev/null 2>&1 && continue ;;
    pkg-config) command -v pkg-config >/dev/null 2>&1 && continue ;;
    esac
    keep="$keep $package"
done
missing=$keep
[ -n "$missing" ] || exit 0

if [ "${SETUP:-1}" = 0 ]; then
    echo "setup: missing packages:$missing (SETUP=0: not installing)"
    exit 0
fi
if [ "$(id -u)" = 0 ]; then
    as_root=""
elif command -v sudo >/dev/null 2>&1; then
    as_root="sudo"
else
    echo "setup: missing packages:$missing; want root or sudo to install them, or install them by hand" >&2
    exit 1
fi
echo "setup: installing:$missing"
$as_root apt-get update -q
for package in $missing; do
    case " $optional " in
    *" $package "*)
        DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -q "$package" ||
            echo "setup: $package is not to be had here; rcnn builds without it" ;;
    *)
        DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -q "$package" ;;
    esac
done
