# make demo, make test: the two commands. Everything else helps to work on strobe.
BUILD := build
JOBS := $(shell nproc)

.PHONY: build test
build:
	@mkdir -p $(BUILD)
	@cmake -S . -B $(BUILD) -G Ninja -DCMAKE_BUILD_TYPE=Release $(CMAKE_ARGS) > $(BUILD)/configure.log 2>&1 || (cat $(BUILD)/configure.log; exit 1)
	@cmake --build $(BUILD) -j $(JOBS)
