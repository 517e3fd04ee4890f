// Package image holds sessions with images: made here from busybox, pushed to a registry on loopback, and pulled and
// run by gcr on the real kernel, as root, as an ordinary user with subordinate ids, and as one with a single id.
package image
