.PHONY: conformance
conformance: ## run the OCI validation suite against gcrun, and runc and crun beside it (as root)
	$(GO) build -o gcrun/gcrun ./gcrun
	cd test/conformance && $(GO) run . -known known-failures.txt $(CURDIR)/gcrun/gcrun runc crun
