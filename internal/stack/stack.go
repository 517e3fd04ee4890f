// Package stack gives the calling goroutine its whole stack at once.
//
// The stack of a goroutine begins with 2 KiB and is doubled each time that it is too small: a piece of each size is
// taken from a pool that is set up for it, everything is copied, and the tables of all functions on it are looked
// up for its pointers. A command that lives for three milliseconds goes all that way up to 32 KiB:
//
//	func main() {
//		stack.Grow()
//		…
package stack

// Grow makes room for 24 KiB more on the stack of the calling goroutine, without touching it. It is best called while
// there is little on it to copy.
func Grow()
