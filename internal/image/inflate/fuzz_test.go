package inflate_test

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"encoding/binary"
	"hash/crc32"
	"io"
	"testing"
	"testing/iotest"

	"gcr/internal/image/inflate"
)

// FuzzReader feeds whole gzip streams: headers, flags, members, trailers. What compress/gzip refuses is refused, what it
// takes gives the same bytes.
func FuzzReader(f *testing.F) {
	for _, text := range contents() {
		for _, level := range []int{gzip.HuffmanOnly, gzip.NoCompression, 6} {
			if b := pack(f, text[:min(len(text), 2000)], level); len(b) < 4000 {
				f.Add(b)
				f.Add(append(bytes.Clone(b), b...))
				f.Add(b[:len(b)-3])
			}
		}
	}
	for _, b := range headers() {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) { same(t, b) })
}

// FuzzDeflate feeds the deflate stream alone and adds a header and the right trailer, so that a change of the data is
// not stopped by the checksum: what compress/flate takes must come out with the same bytes, the checksum and the size
// included, and what it refuses must be refused, with the same bytes before. The source gives step bytes at a time, the
// repeats make the stream long enough for the window to move.
func FuzzDeflate(f *testing.F) {
	for _, text := range contents() {
		for _, level := range []int{flate.HuffmanOnly, flate.NoCompression, 1, 6} {
			f.Add(deflate(f, text[:min(len(text), 3000)], level), uint16(0), uint8(0))
			f.Add(deflate(f, text[:min(len(text), 300)], level), uint16(1), uint8(2))
			f.Add(deflate(f, text[:min(len(text), 300)], level), uint16(7), uint8(90))
		}
	}
	for _, s := range []string{
		"1" + "11",                                                  // a type of block that there is not
		"1" + "10" + "11000110" + "0000000",                         // symbol 286 of the fixed code
		"1" + "10" + "0000001" + "11110" + "00000",                  // distance 30
		"1" + "10" + "10110000" + "0000001" + "00000" + "0000000",   // a literal and a match at distance 1
		"1" + "10" + "0000001" + "00000" + "0000000",                // a distance beyond the beginning
		"0" + "10" + "0000000" + "0" + "10" + "0000000" + "1" + "1", // empty blocks, and an end in the middle
		"1" + "01" + "01111" + "00000" + "0000",                     // more symbols than there are
	} {
		f.Add(deflateBits(s), uint16(0), uint8(0))
	}
	f.Fuzz(func(t *testing.T, b []byte, step uint16, repeats uint8) {
		// Stored blocks in front fill the window, without being the last.
		block := append([]byte{0, 0xff, 0x7f, 0x00, 0x80}, noise32[:]...)
		stream := append(bytes.Repeat(block, int(repeats%20)), b...)
		left := bytes.NewReader(stream)
		want, wantErr := io.ReadAll(flate.NewReader(left))

		in := bytes.NewBuffer([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0})
		if wantErr == nil {
			// flate reads no byte more than it needs.
			stream = stream[:len(stream)-left.Len()]
		}
		in.Write(stream)
		if wantErr == nil {
			in.Write(binary.LittleEndian.AppendUint32(nil, crc32.ChecksumIEEE(want)))
			in.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(want))))
		}
		var src io.Reader = bytes.NewReader(in.Bytes())
		switch {
		case step == 1:
			src = iotest.OneByteReader(src)
		case step > 1:
			src = &steps{src, int(step)}
		}
		var got []byte
		z, err := inflate.NewReader(src)
		if err == nil {
			got, err = io.ReadAll(z)
		}
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("error %v, of compress/flate %v", err, wantErr)
		}
		if err == nil && !bytes.Equal(got, want) {
			t.Fatalf("%d bytes, of compress/flate %d", len(got), len(want))
		}
		if !bytes.HasPrefix(got, want) {
			t.Fatalf("%d bytes before the error %v, of compress/flate %d, which differ", len(got), err, len(want))
		}
	})
}

// noise32 is what distances may reach.
var noise32 = func() (b [0x7fff]byte) {
	x := uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}()

// steps gives n bytes at a time.
type steps struct {
	r io.Reader
	n int
}

func (s *steps) Read(p []byte) (int, error) { return s.r.Read(p[:min(len(p), s.n)]) }

func deflate(t testing.TB, b []byte, level int) []byte {
	t.Helper()
	var o bytes.Buffer
	w, err := flate.NewWriter(&o, level)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write(b)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return o.Bytes()
}

// headers are streams with every flag of RFC 1952, right and wrong.
func headers() map[string][]byte {
	const end = "\x03\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00" // an empty block and its trailer
	h := func(flags byte, rest string) []byte {
		return append([]byte{0x1f, 0x8b, 8, flags, 1, 2, 3, 4, 0, 3}, rest...)
	}
	sum := func(b []byte, wrong uint16) string {
		v := uint16(crc32.ChecksumIEEE(b)) ^ wrong
		return string([]byte{byte(v), byte(v >> 8)})
	}
	long := string(bytes.Repeat([]byte{'a'}, 511))
	return map[string][]byte{
		"plain":                     h(0, end),
		"text":                      h(1, end),
		"checksum":                  h(2, sum(h(2, ""), 0)+end),
		"wrong checksum":            h(2, sum(h(2, ""), 1)+end),
		"extra":                     h(4, "\x03\x00abc"+end),
		"empty extra":               h(4, "\x00\x00"+end),
		"extra beyond the end":      h(4, "\xff\xffabc"+end),
		"name":                      h(8, "name\x00"+end),
		"longest name":              h(8, long+"\x00"+end),
		"too long name":             h(8, long+"a\x00"+end),
		"name without end":          h(8, "name"),
		"name of Latin-1":           h(8, "\xe4\xff\x00"+end),
		"comment":                   h(16, "comment\x00"+end),
		"all":                       h(31-2, "\x01\x00xname\x00comment\x00"+end),
		"all with checksum":         h(31, "\x01\x00xname\x00comment\x00"+sum(h(31, "\x01\x00xname\x00comment\x00"), 0)+end),
		"reserved flags":            h(0xe0, end),
		"another method":            append([]byte{0x1f, 0x8b, 7, 0, 1, 2, 3, 4, 0, 3}, end...),
		"another magic":             append([]byte{0x1f, 0x8c, 8, 0, 1, 2, 3, 4, 0, 3}, end...),
		"wrong sum of the content":  h(0, "\x03\x00"+"\x01\x00\x00\x00"+"\x00\x00\x00\x00"),
		"wrong size of the content": h(0, "\x03\x00"+"\x00\x00\x00\x00"+"\x01\x00\x00\x00"),
		"without trailer":           h(0, "\x03\x00"),
		"half a trailer":            h(0, "\x03\x00\x00\x00\x00\x00\x00"),
		"nothing":                   {},
		"half a header":             {0x1f, 0x8b, 8},
	}
}

func TestHeaders(t *testing.T) {
	for name, b := range headers() {
		t.Run(name, func(t *testing.T) {
			same(t, b)
			for n := range b {
				same(t, b[:n])
			}
		})
	}
}
