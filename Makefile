# GCR: build, try and test. `make help` lists the targets.

GO    ?= go
BUILD := build

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST) | LC_ALL=C sort

.PHONY: build
build: ## build ./gcr
	$(GO) build -o gcr .

.PHONY: run
run: build ## open a container on this machine's own files, nothing is downloaded and nothing is kept
	@if [ -t 0 ] && [ -t 1 ]; then ./gcr run host bash; else ./gcr run --verbose host sh -c 'echo "hello from container $$(hostname): process $$$$, user $$(id -un)"'; fi

.PHONY: deps
deps: ## install what the tests need (Debian or Ubuntu, as root)
	test/deps.sh

.PHONY: test
test: deps build ## build, get what the tests need, run them all
	test/all.sh

.PHONY: test-full
test-full: deps build ## the same with all inputs of the tests that take fewer for CI
	GCR_TEST_FULL=1 test/all.sh

.PHONY: lint
lint: ## gofumpt, go vet, staticcheck, shellcheck
	test/lint.sh

.PHONY: golden
golden: ## rewrite the golden files from what the code does now
	$(GO) test ./internal/... -update

.PHONY: clean
clean: ## remove what was built
	rm -rf gcr gcrun/gcrun img2rootfs/img2rootfs $(BUILD)

-include bench/bench.mk test/vm/vm.mk test/conformance/conformance.mk test/attacks/attacks.mk test/fuzz.mk
