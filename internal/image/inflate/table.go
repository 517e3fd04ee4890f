package inflate

import "math/bits"

// An entry of a decoding table says what the next bits of the stream mean:
//
//	bits 0-4    how many bits it takes in all: the code and the extra bits after it
//	bits 8-12   how many of them are the code; in a link the index width of the further table
//	bits 16-30  the literal, the length or distance without its extra bits, or where the further table starts
//
// and one of these flags, or none for a length or distance.
type entry uint32

const (
	literal entry = 1 << 5
	special entry = 1 << 6 // one of the next two, or neither: then no code has these bits
	end     entry = 1 << 7 // end of block
	link    entry = 1 << 13

	invalid = special
)

// Widths of the first tables. Most codes are no longer, so that one look is enough, and both fit into the L1 cache.
const (
	symbolBits   = 11
	distanceBits = 9
)

// The largest tables that complete codes of 15 bits at most can need are 2342 and 592 entries (zlib's examples/enough.c,
// for 286 and 30 symbols). Powers of two make an index that is masked a valid one.
type (
	symbolTable   [4096]entry
	distanceTable [1024]entry
)

// Symbols of RFC 1951, section 3.2.5, without their codes.
var symbols, distances = func() (s [288]entry, d [32]entry) {
	for i := range 256 {
		s[i] = literal | entry(i)<<16
	}
	s[256] = special | end
	base := 3
	for i := range 28 {
		extra := max(0, i/4-1)
		s[257+i] = entry(base)<<16 | entry(extra)
		base += 1 << extra
	}
	s[285] = 258 << 16
	s[286], s[287] = invalid, invalid
	base = 1
	for i := range 30 {
		extra := max(0, i/2-1)
		d[i] = entry(base)<<16 | entry(extra)
		base += 1 << extra
	}
	d[30], d[31] = invalid, invalid
	return s, d
}()

// build makes a decoding table for the code that has these lengths (RFC 1951, section 3.2.2); what[i] is what symbol i
// means. It reports whether that is a code: complete, but for a single symbol of one bit, which is how a block says
// that it has one distance, and for no symbol at all.
func build(table []entry, width int, lengths []uint8, what []entry) bool {
	var count [16]int
	for _, l := range lengths {
		count[l]++
	}
	count[0] = 0
	longest, left := 0, 1
	var next [17]int
	code := 0
	for l := 1; l <= 15; l++ {
		if count[l] > 0 {
			longest = l
		}
		left = left<<1 - count[l]
		if left < 0 {
			return false
		}
		next[l] = code
		code = (code + count[l]) << 1
	}
	if left > 0 && longest > 1 {
		return false
	}
	for i := range 1 << width {
		table[i] = invalid
	}
	free := 1 << width
	// Codes in their order, short ones first: the codes of a further table follow each other, and it is as wide as the
	// longest of them needs.
	var order [288]uint16
	var start [17]int
	for l := 1; l <= 15; l++ {
		start[l+1] = start[l] + count[l]
	}
	at := start
	for i, l := range lengths {
		if l > 0 {
			order[at[l]] = uint16(i)
			at[l]++
		}
	}
	for l := 1; l <= longest; l++ {
		for k := start[l]; k < start[l+1]; k++ {
			c := next[l]
			next[l]++
			reversed := int(bits.Reverse16(uint16(c)) >> (16 - l))
			e := what[order[k]]
			if e != invalid {
				e += entry(l) | entry(l)<<8
			}
			if l <= width {
				for i := reversed; i < 1<<width; i += 1 << l {
					table[i] = e
				}
				continue
			}
			first := reversed & (1<<width - 1)
			if table[first]&link == 0 {
				// As wide as is needed until the codes with this beginning are complete.
				w, room := l-width, 1<<(l-width)
				for have := count[l] - (k - start[l]); have < room && width+w < longest; {
					room -= have
					w++
					room <<= 1
					have = count[width+w]
				}
				table[first] = special | link | entry(free)<<16 | entry(w)<<8 | entry(width)
				for i := range 1 << w {
					table[free+i] = invalid
				}
				free += 1 << w
			}
			t := table[first]
			from, w := int(t>>16), int(t>>8&31)
			if e != invalid {
				e = e&^(31<<8|31) + entry(l-width)<<8 + (e&31 - entry(width))
			}
			for i := reversed >> width; i < 1<<w; i += 1 << (l - width) {
				table[from+i] = e
			}
		}
	}
	return true
}
