// Package criu speaks to CRIU, the program that writes processes to disk and brings them back (https://criu.org).
//
//	pid, err := criu.Run(path, criu.Request{Type: criu.Dump, Images: dir, PID: pid, LeaveRunning: true}, criu.Session{})
//
// CRIU is started with one end of a socket ("criu swrk"), is told what to do in one message, and answers with one; in
// between it says where it stands, and waits until it has been heard. The messages are protocol buffers, of which CRIU
// uses numbers, texts and nested messages only: this package writes and reads them itself, since the generated code and
// its library would cost every start of a command that links them.
//
// The messages are those of rpc.proto in CRIU's source and in github.com/checkpoint-restore/go-criu.
package criu
