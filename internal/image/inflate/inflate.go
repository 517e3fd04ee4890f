// Package inflate reads gzip streams (RFC 1951, RFC 1952), two to four times as fast as compress/gzip.
//
//	r, err := inflate.NewReader(blob)
//	io.Copy(dst, r)
//
// To decompress is most of the work of pulling an image, and nothing else can go on before it: that is why this package
// exists. It decodes with tables that give a symbol with its extra bits in one look, keeps 56 bits at hand, and writes
// into a window that it hands out from, with no copy in between. What it takes and what it refuses is the same as of
// compress/gzip, which its tests and fuzz targets compare it with; only before an error it may give more bytes.
package inflate

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
)

// Errors of the content; those of the reader below come as they are.
var (
	ErrHeader   = errors.New("invalid gzip header")
	ErrChecksum = errors.New("gzip checksum does not match")
	ErrCorrupt  = errors.New("corrupt deflate data")
)

const (
	history  = 32 << 10  // how far back a distance reaches
	ahead    = 256 << 10 // decompressed at a time
	slack    = 3 + 258 + 8
	inSize   = 128 << 10
	padding  = 32 // zeros after the end of the stream, so that 8 bytes can always be loaded
	lookback = 2 * 8
)

type state int

const (
	blockHeader state = iota
	stored
	compressed
	trailer
)

// Reader decompresses. It reads further than the end of the gzip stream needs.
type Reader struct {
	src io.Reader
	in  []byte // what has been read: in[pos:have], and zeros after it at the end of the stream
	pos int
	// have is where the bytes of the stream end.
	have int
	eof  bool
	hold uint64 // the next bits, lowest first; those above nbits are right or zero
	nbit uint

	out  []byte
	base int // where the member at hand starts, as far as it is still in the window
	rd   int // what the caller has
	wr   int

	state state
	last  bool // of the blocks
	left  int  // bytes of a stored block
	sum   uint32
	size  uint32
	err   error

	lengths [288 + 32]uint8
	syms    symbolTable
	dists   distanceTable
}

// NewReader reads the header of a gzip stream.
func NewReader(r io.Reader) (*Reader, error) {
	d := &Reader{src: r, in: make([]byte, inSize+padding), out: make([]byte, history+ahead+slack)}
	if err := d.header(); err != nil {
		return nil, err
	}
	return d, nil
}

// Read implements io.Reader.
func (d *Reader) Read(p []byte) (int, error) {
	for d.rd == d.wr {
		if d.err != nil {
			return 0, d.err
		}
		if d.wr > history+ahead/2 {
			// Keep what distances may reach.
			shift := d.wr - history
			copy(d.out, d.out[shift:d.wr])
			d.base = max(0, d.base-shift)
			d.wr, d.rd = history, history
		}
		from := d.wr
		d.err = d.decode()
		d.sum = crc32.Update(d.sum, crc32.IEEETable, d.out[from:d.wr])
		d.size += uint32(d.wr - from)
		if d.err == nil && d.state == trailer {
			d.err = d.trailer()
		}
	}
	n := copy(p, d.out[d.rd:d.wr])
	d.rd += n
	return n, nil
}

// decode goes on until the window is full or the member ends.
func (d *Reader) decode() error {
	for d.wr < history+ahead {
		var err error
		switch d.state {
		case blockHeader:
			if d.last {
				d.state = trailer
				return nil
			}
			err = d.block()
		case stored:
			err = d.copyStored()
		case compressed:
			err = d.symbols()
		case trailer:
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// fill reads more once there are few bytes left, and pads the end of the stream. It reports io.ErrUnexpectedEOF when
// more has been taken than there was.
func (d *Reader) fill() error {
	if d.eof {
		if d.pos-int(d.nbit>>3) > d.have {
			return io.ErrUnexpectedEOF
		}
		return nil
	}
	// Bytes in hold may be given back.
	keep := d.pos - int(d.nbit>>3)
	d.have = copy(d.in, d.in[keep:d.have])
	d.pos -= keep
	for empty := 0; d.have < d.pos+padding; {
		n, err := d.src.Read(d.in[d.have:inSize])
		d.have += n
		if err == io.EOF {
			d.eof = true
			clear(d.in[d.have : d.have+padding])
			return nil
		}
		if err != nil {
			return err
		}
		if n == 0 {
			if empty++; empty > 100 {
				return io.ErrNoProgress
			}
		}
	}
	return nil
}

// room is how far d.pos may be for two loads of 8 bytes.
func (d *Reader) room() int {
	if d.eof {
		return d.have + padding - lookback
	}
	return d.have - lookback
}

// bits takes up to 32 bits from the stream.
func (d *Reader) bits(n uint) (uint32, error) {
	if err := d.need(n); err != nil {
		return 0, err
	}
	v := uint32(d.hold & (1<<n - 1))
	d.hold >>= n
	d.nbit -= n
	if d.eof && d.pos-int(d.nbit>>3) > d.have {
		return 0, io.ErrUnexpectedEOF
	}
	return v, nil
}

// bytes lets go of what is left of a byte and of the bits that were loaded ahead.
func (d *Reader) bytes() {
	d.pos -= int(d.nbit >> 3)
	d.hold, d.nbit = 0, 0
}

func (d *Reader) block() error {
	v, err := d.bits(3)
	if err != nil {
		return err
	}
	d.last = v&1 != 0
	switch v >> 1 {
	case 0:
		d.bytes()
		v, err := d.bits(32)
		if err != nil {
			return err
		}
		if uint16(v) != ^uint16(v>>16) {
			return ErrCorrupt
		}
		d.bytes()
		d.left, d.state = int(v&0xffff), stored
		return nil
	case 1:
		d.fixed()
	case 2:
		if err := d.dynamic(); err != nil {
			return err
		}
	default:
		return ErrCorrupt
	}
	d.state = compressed
	return nil
}

func (d *Reader) copyStored() error {
	for d.left > 0 && d.wr < history+ahead {
		if d.pos >= d.have {
			if err := d.fill(); err != nil {
				return err
			}
			if d.pos >= d.have {
				return io.ErrUnexpectedEOF
			}
		}
		n := copy(d.out[d.wr:min(d.wr+d.left, history+ahead)], d.in[d.pos:d.have])
		d.pos += n
		d.wr += n
		d.left -= n
	}
	if d.left == 0 {
		d.state = blockHeader
	}
	return nil
}

// fixed is the code of RFC 1951, section 3.2.6.
func (d *Reader) fixed() {
	l := d.lengths[:288]
	for i := range l {
		switch {
		case i < 144:
			l[i] = 8
		case i < 256:
			l[i] = 9
		case i < 280:
			l[i] = 7
		default:
			l[i] = 8
		}
	}
	build(d.syms[:], symbolBits, l, symbols[:])
	l = d.lengths[:32]
	for i := range l {
		l[i] = 5
	}
	build(d.dists[:], distanceBits, l, distances[:])
}

// Order of the lengths of the code for lengths (RFC 1951, section 3.2.7).
var lengthOrder = [19]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

var lengthSymbols = func() (s [19]entry) {
	for i := range s {
		s[i] = literal | entry(i)<<16
	}
	return s
}()

func (d *Reader) dynamic() error {
	v, err := d.bits(14)
	if err != nil {
		return err
	}
	nsym, ndist, nlen := int(v&31)+257, int(v>>5&31)+1, int(v>>10)+4
	if nsym > 286 || ndist > 30 {
		return ErrCorrupt
	}
	var l [19]uint8
	for i := range nlen {
		v, err := d.bits(3)
		if err != nil {
			return err
		}
		l[lengthOrder[i]] = uint8(v)
	}
	const width = 7
	table := d.dists[:1<<width]
	if !build(table, width, l[:], lengthSymbols[:]) {
		return ErrCorrupt
	}
	all := d.lengths[:nsym+ndist]
	for i := 0; i < len(all); {
		if err := d.need(width); err != nil {
			return err
		}
		e := table[d.hold&(1<<width-1)]
		if e == invalid {
			return ErrCorrupt
		}
		if _, err := d.bits(uint(e & 31)); err != nil {
			return err
		}
		s := uint8(e >> 16)
		if s < 16 {
			all[i] = s
			i++
			continue
		}
		var extra uint
		var again uint8
		n := 3
		switch s {
		case 16:
			if i == 0 {
				return ErrCorrupt
			}
			extra, again = 2, all[i-1]
		case 17:
			extra = 3
		default:
			extra, n = 7, 11
		}
		v, err := d.bits(extra)
		if err != nil {
			return err
		}
		n += int(v)
		if i+n > len(all) {
			return ErrCorrupt
		}
		for range n {
			all[i] = again
			i++
		}
	}
	if !build(d.syms[:], symbolBits, all[:nsym], symbols[:]) || !build(d.dists[:], distanceBits, all[nsym:], distances[:]) {
		return ErrCorrupt
	}
	return nil
}

// need loads bits ahead; at the end of the stream they are zeros.
func (d *Reader) need(n uint) error {
	if d.nbit >= n {
		return nil
	}
	if d.pos > d.room() {
		if err := d.fill(); err != nil {
			return err
		}
		if d.pos > d.room() {
			return io.ErrUnexpectedEOF
		}
	}
	d.hold |= binary.LittleEndian.Uint64(d.in[d.pos:]) << d.nbit
	d.pos += int((63 - d.nbit) >> 3)
	d.nbit |= 56
	return nil
}
