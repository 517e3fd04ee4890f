// Package attacks is a museum: one executable attack for each known class of attack on container runtimes.
//
// Each exhibit is run twice. First against something weakened: a container that shares what it should not
// (--pid=host, --privileged, seccomp=unconfined), or a naive re-implementation of the step that was vulnerable
// elsewhere. There it must succeed, or it would prove nothing. Then against gcr's defaults, which must refuse
// it, and for the expected reason.
//
//	make attacks                                  run all, and print the table
//	go test ./test/attacks -run Museum/TIOCSTI    run one
//
// The test binary plays three parts: the visitor who runs the exhibits; inside a container, the attacker
// (museum attack NAME); and outside of one, the naive runtime (museum naive NAME). Nothing of the host is
// changed even where an attack succeeds: it writes back what it has read, or aims at files made for it.
package attacks
