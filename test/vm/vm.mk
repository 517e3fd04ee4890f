# The VM bench's targets; the Makefile includes this file.

.PHONY: test-vm vm-setup

# Measured on two idle cores without KVM: 1 minute to fetch the kernels and build the images (once), 1 minute to boot
# every machine and check what it offers; the rest is the suites' own time, several times what it is on the host: 15 minutes
# in all. VM=-failed runs again what failed the last time, and only that.
test-vm: ## run the suites on other kernels, cgroup layouts and arm64, in VMs (minutes; as root the first time)
	@echo "test-vm: about 15 minutes on two cores without KVM, of which 2 are for fetching kernels and building images the first time"
	go run ./test/vm suites $(VM)

vm-setup: ## only fetch the kernels and build the images of test-vm
	go run ./test/vm setup
