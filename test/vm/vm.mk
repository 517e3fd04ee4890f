# The VM bench's targets; the Makefile includes this file.

.PHONY: test-vm vm-setup

# Measured on 2 cores without KVM: the first time about 4 minutes, 1 of them for fetching and building images;
# later about 3.
test-vm: ## Run the suites on other kernels, cgroup layouts and arm64, in VMs (about 4 minutes; as root the first time)
	@echo "test-vm: about 4 minutes without KVM, 1 more when kernels and images must be fetched"
	go run ./test/vm suites

vm-setup: ## Only fetch the kernels and build the images of test-vm
	go run ./test/vm setup
