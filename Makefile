# make demo, make test: the two commands. Everything else helps to work on strobe.
BUILD := build
JOBS := $(shell nproc)
CONFIGURE = cmake -S . -G Ninja -DCMAKE_BUILD_TYPE=Release

.PHONY: demo demo-bert test test-gpu test-all test-asan test-isa build build-tests bench docs format lint clean

demo:
	@tools/demo.sh announce
	@$(MAKE) --no-print-directory build
	@tools/demo.sh

demo-bert:
	@tools/demo_bert.sh announce
	@$(MAKE) --no-print-directory build
	@tools/demo_bert.sh

build:
	@tools/setup.sh build
	@$(CONFIGURE) -B $(BUILD) -DSTROBE_TESTS=OFF $(CMAKE_ARGS) > $(BUILD)/configure.log 2>&1 || (cat $(BUILD)/configure.log; exit 1)
	@cmake --build $(BUILD) -j $(JOBS)

build-tests:
	@tools/setup.sh test
	@$(CONFIGURE) -B $(BUILD) -DSTROBE_TESTS=ON $(CMAKE_ARGS) > $(BUILD)/configure.log 2>&1 || (cat $(BUILD)/configure.log; exit 1)
	@cmake --build $(BUILD) -j $(JOBS)

test: build-tests
	@ctest --test-dir $(BUILD) -L quick -j $(JOBS) --output-on-failure

# The tests of the GPU: the op table, attention, the model, training. One process a program, since
# each opens the GPU.
test-gpu: build-tests
	@BUILD=$(BUILD) tools/test_gpu.sh

# The long tests too: kills, the browser, Optuna, the demo, older instruction sets, sanitizers.
test-all:
	@tools/setup.sh all
	@$(MAKE) --no-print-directory build-tests test-asan test-isa
	@ctest --test-dir $(BUILD) -L long --output-on-failure

test-asan:
	@tools/setup.sh test
	@mkdir -p $(BUILD)-asan
	@$(CONFIGURE) -B $(BUILD)-asan -DSTROBE_TESTS=ON -DSTROBE_SANITIZE=address,undefined -DSTROBE_PLOTLY_ROOT=$(CURDIR)/$(BUILD)/venv $(CMAKE_ARGS) > $(BUILD)-asan/configure.log 2>&1 || (cat $(BUILD)-asan/configure.log; exit 1)
	@cmake --build $(BUILD)-asan -j $(JOBS)
	@ctest --test-dir $(BUILD)-asan -L quick -j $(JOBS) --output-on-failure

# The kernels for older machines, chosen as if this were one.
test-isa: build-tests
	@for isa in avx512 avx2 baseline; do \
	  if ! missing=$$(STROBE_CPU_ISA=$$isa $(BUILD)/strobe bench gemm --tokens 8 --channels 8 --vocab 8 2>&1 >/dev/null); then \
	    case "$$missing" in *"this machine lacks"*) echo "NOT TESTED, kernels for $$isa: $$missing"; continue;; esac; \
	    echo "$$missing"; exit 1; \
	  fi; \
	  echo "kernels for $$isa"; \
	  STROBE_CPU_ISA=$$isa ctest --test-dir $(BUILD) -L quick -R 'Gpt2|Attention|Ops' -j $(JOBS) --output-on-failure || exit 1; \
	done

bench: build
	@$(BUILD)/strobe bench gemm
	@$(BUILD)/strobe bench ops
	@$(BUILD)/strobe bench attention
	@$(BUILD)/strobe bench step recipes/gpt2-30m-wikitext2.toml train.micro_batch=8 train.sequence=256

# The catalogue of optimizers, schedules and regularisers, from their docstrings.
docs: build
	@(sed '/^## /,$$d' docs/catalogue.md; $(BUILD)/strobe list all --markdown) > docs/catalogue.md.new && mv docs/catalogue.md.new docs/catalogue.md

SOURCES = $(shell git ls-files 'strobe/*.h' 'strobe/*.cpp' 'strobe/*.cuh' 'strobe/*.cu' 'apps/*.h' 'apps/*.cpp' 'tests/*.h' 'tests/*.cpp')

format:
	@tools/setup.sh lint
	@clang-format -i $(SOURCES)

lint: build-tests
	@tools/setup.sh lint
	@clang-format --dry-run -Werror $(SOURCES)
	@python3 tools/check_layers.py
	@clang-tidy -p $(BUILD) --quiet $(filter %.cpp,$(filter-out strobe/cpu/isa/% strobe/cpu/isa_select.cpp strobe/cuda/% tests/%,$(SOURCES)))

clean:
	rm -rf $(BUILD) $(BUILD)-asan
