package inflate

import (
	"encoding/binary"
	"io"
)

// symbols decodes a compressed block until it ends or the window is full. All that the loop needs is in local
// variables: the compiler keeps them in registers.
func (d *Reader) symbols() error {
	for {
		if d.pos > d.room() {
			if err := d.fill(); err != nil {
				return err
			}
			if d.pos > d.room() {
				return io.ErrUnexpectedEOF
			}
		}
		done, err := d.run()
		if d.eof && d.pos-int(d.nbit>>3) > d.have {
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		if done {
			d.state = blockHeader
			return nil
		}
		if d.wr >= history+ahead {
			return nil
		}
	}
}

func (d *Reader) run() (done bool, err error) {
	in, pos, room := d.in, d.pos, d.room()
	hold, nbit := d.hold, d.nbit
	out, w, base := d.out, d.wr, d.base
	syms, dists := &d.syms, &d.dists
loop:
	for w < history+ahead && pos <= room {
		hold |= binary.LittleEndian.Uint64(in[pos:]) << (nbit & 63)
		pos += int((63 - nbit) >> 3)
		nbit |= 56
		e := syms[hold&(1<<symbolBits-1)]
		if e&literal != 0 {
			// Three literals of the first table take at most 33 bits.
			for n := 3; ; {
				out[w] = byte(e >> 16)
				w++
				hold >>= e & 31
				nbit -= uint(e & 31)
				if n--; n == 0 {
					continue loop
				}
				if e = syms[hold&(1<<symbolBits-1)]; e&literal == 0 {
					break
				}
			}
			// A length with its distance takes up to 48.
			hold |= binary.LittleEndian.Uint64(in[pos:]) << (nbit & 63)
			pos += int((63 - nbit) >> 3)
			nbit |= 56
		}
		if e&special != 0 {
			if e&link != 0 {
				hold >>= symbolBits
				nbit -= symbolBits
				e = syms[(uint64(e>>16)+hold&(1<<(e>>8&31)-1))&4095]
			}
			switch {
			case e&literal != 0:
				out[w] = byte(e >> 16)
				w++
				hold >>= e & 31
				nbit -= uint(e & 31)
				continue
			case e&end != 0:
				hold >>= e & 31
				nbit -= uint(e & 31)
				done = true
				break loop
			case e&special != 0:
				err = ErrCorrupt
				break loop
			}
		}
		length := int(e>>16) + int(hold&(1<<(e&31)-1)>>(e>>8&31))
		hold >>= e & 31
		nbit -= uint(e & 31)
		e = dists[hold&(1<<distanceBits-1)]
		if e&special != 0 {
			if e&link != 0 {
				hold >>= distanceBits
				nbit -= distanceBits
				e = dists[(uint64(e>>16)+hold&(1<<(e>>8&31)-1))&1023]
			}
			if e&special != 0 {
				err = ErrCorrupt
				break loop
			}
		}
		dist := int(e>>16) + int(hold&(1<<(e&31)-1)>>(e>>8&31))
		hold >>= e & 31
		nbit -= uint(e & 31)
		if dist > w-base {
			err = ErrCorrupt
			break loop
		}
		from := out[w-dist:]
		to := out[w:]
		w += length
		switch {
		case dist >= 8:
			// Whole words; what they write too much is overwritten by what follows.
			for i := 0; i < length; i += 8 {
				binary.LittleEndian.PutUint64(to[i:], binary.LittleEndian.Uint64(from[i:]))
			}
		case dist == 1:
			v := uint64(from[0]) * 0x0101010101010101
			for i := 0; i < length; i += 8 {
				binary.LittleEndian.PutUint64(to[i:], v)
			}
		default:
			for i := range length {
				to[i] = from[i]
			}
		}
	}
	d.pos, d.hold, d.nbit, d.wr = pos, hold, nbit, w
	return done, err
}
