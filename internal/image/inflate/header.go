package inflate

import (
	"hash/crc32"
	"io"
)

// Flags of a gzip header (RFC 1952, section 2.3.1).
const (
	flagHeaderCRC = 1 << 1
	flagExtra     = 1 << 2
	flagName      = 1 << 3
	flagComment   = 1 << 4
)

// maxText bounds a name or comment, as in compress/gzip.
const maxText = 511

// header reads the header of a member. io.EOF: there is none.
func (d *Reader) header() error {
	var sum uint32
	next := func() (byte, error) {
		v, err := d.bits(8)
		if err != nil {
			return 0, err
		}
		sum = crc32.Update(sum, crc32.IEEETable, []byte{byte(v)})
		return byte(v), nil
	}
	var h [10]byte
	for i := range h {
		b, err := next()
		if err != nil {
			if i == 0 && err == io.ErrUnexpectedEOF {
				return io.EOF
			}
			return err
		}
		h[i] = b
	}
	if h[0] != 0x1f || h[1] != 0x8b || h[2] != 8 {
		return ErrHeader
	}
	flags := h[3]
	if flags&flagExtra != 0 {
		a, err := next()
		if err != nil {
			return err
		}
		b, err := next()
		if err != nil {
			return err
		}
		for range int(a) | int(b)<<8 {
			if _, err := next(); err != nil {
				return err
			}
		}
	}
	for _, f := range []byte{flagName, flagComment} {
		if flags&f == 0 {
			continue
		}
		for n := 0; ; n++ {
			if n > maxText {
				return ErrHeader
			}
			b, err := next()
			if err != nil {
				return err
			}
			if b == 0 {
				break
			}
		}
	}
	if flags&flagHeaderCRC != 0 {
		want := uint16(sum)
		v, err := d.bits(16)
		if err != nil {
			return err
		}
		if uint16(v) != want {
			return ErrHeader
		}
	}
	d.base, d.sum, d.size = d.wr, 0, 0
	d.state, d.last = blockHeader, false
	return nil
}

// trailer verifies checksum and size of a member and goes on to the next one. io.EOF: there is none.
func (d *Reader) trailer() error {
	d.bytes()
	sum, err := d.bits(32)
	if err != nil {
		return err
	}
	size, err := d.bits(32)
	if err != nil {
		return err
	}
	if sum != d.sum || size != d.size {
		return ErrChecksum
	}
	return d.header()
}
