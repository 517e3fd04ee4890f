package main

import (
	"bytes"
	"fmt"
)

// A cpio is an archive in the format of initial RAM file systems, "newc" (Linux,
// Documentation/driver-api/early-userspace/buffer-format.rst). The kernel unpacks several of them one after
// the other, so archives can simply be appended to each other.
type cpio struct {
	buf   bytes.Buffer
	inode int
}

func newCPIO() *cpio { return &cpio{} }

func (c *cpio) dir(name string) { c.entry(name, 0o040755, nil) }

func (c *cpio) file(name string, mode int, content []byte) { c.entry(name, 0o100000|mode, content) }

func (c *cpio) entry(name string, mode int, content []byte) {
	c.inode++
	// magic, ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor,
	// namesize with the final NUL, check
	fmt.Fprintf(&c.buf, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		c.inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name)+1, 0)
	c.buf.WriteString(name)
	c.buf.WriteByte(0)
	c.align()
	c.buf.Write(content)
	c.align()
}

// align pads to the format's four bytes.
func (c *cpio) align() {
	for c.buf.Len()%4 != 0 {
		c.buf.WriteByte(0)
	}
}

// bytes ends the archive and returns it.
func (c *cpio) bytes() []byte {
	c.inode = -1 // the trailer has inode 0
	c.entry("TRAILER!!!", 0, nil)
	return c.buf.Bytes()
}
