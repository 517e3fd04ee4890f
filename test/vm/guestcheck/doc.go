// Package guestcheck has the VM bench's own tests: that each place offers what the suites that run there count
// on.
//
//	go run ./test/vm suites -only guestcheck
package guestcheck
