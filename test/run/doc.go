// Package run holds sessions: gcr as a person uses it, on the real kernel, as root and as an ordinary user.
//
// The sessions without a terminal are the scripts in testdata (testscript; see github.com/rogpeppe/go-internal):
// "all" for every caller, "root" and "user" for one, "bad" for input that is wrong. Those on a terminal are Go
// tests.
package run
