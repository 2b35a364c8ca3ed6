# Thin front end to CMake. `make demo` and `make check` work on a fresh Debian or Ubuntu machine.
#   SETUP=0   never install packages, only say what is missing
#   JOBS=n    parallel build jobs
SETUP ?= 1
JOBS  ?= $(shell nproc 2>/dev/null || echo 2)
BUILD := build/release
PREFIX ?= /usr/local

.PHONY: all demo check install setup clean format

all: $(BUILD)/build.ninja
	cmake --build $(BUILD) -j $(JOBS)

# Missing Debian packages are installed (root or sudo), and named before.
setup:
	@SETUP=$(SETUP) sh scripts/setup.sh

$(BUILD)/build.ninja: setup
	cmake --preset release

demo: all
	$(BUILD)/rcnn detect samples -o out/demo --json out/demo/detections.json
	@echo "The pictures are in out/demo"

check: all
	cd $(BUILD) && ctest --output-on-failure -j $(JOBS)

install: all
	cmake --install $(BUILD) --prefix $(PREFIX)

format:
	clang-format -i $$(git ls-files '*.c' '*.h' '*.cu' '*.cuh')

clean:
	rm -rf build out
