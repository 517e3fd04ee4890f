// Package lsm tests security modules of the kernel with policies of its own: that what config.json and gcr run ask for
// confines the command from its first instruction on, as the module itself sees it.
//
// The tests need root and a kernel that has the module, as the VMs of test/vm do:
//
//	go run ./test/vm suites -only test/lsm
package lsm
