package inflate_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"testing"
	"testing/iotest"

	"gcr/internal/image/inflate"
)

// read decompresses as both packages do; what came before an error counts.
func read(b []byte) ([]byte, error) {
	r, err := inflate.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

func reference(b []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// same checks that a stream gives the same bytes, and is refused where compress/gzip refuses it.
func same(t *testing.T, b []byte) {
	t.Helper()
	want, wantErr := reference(b)
	got, gotErr := read(b)
	if (gotErr == nil) != (wantErr == nil) {
		t.Fatalf("error %v, of compress/gzip %v", gotErr, wantErr)
	}
	if wantErr == nil && !bytes.Equal(got, want) {
		t.Fatalf("%d bytes, of compress/gzip %d", len(got), len(want))
	}
	if errors.Is(wantErr, io.ErrUnexpectedEOF) != errors.Is(gotErr, io.ErrUnexpectedEOF) {
		t.Fatalf("error %v, of compress/gzip %v", gotErr, wantErr)
	}
}

// contents are texts of all kinds: those that give literals, long matches, short distances, stored blocks.
func contents() map[string][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 700_000)
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	var skewed, words bytes.Buffer
	for range 600_000 {
		skewed.WriteByte(byte(r.ExpFloat64() * 12)) // long codes for rare bytes
	}
	for range 100_000 {
		fmt.Fprintf(&words, "%x %d\n", r.Uint32N(5000), r.Uint32N(100))
	}
	var periods bytes.Buffer
	for p := 1; p < 40; p++ {
		periods.Write(bytes.Repeat(noise[p*100:p*100+p], 1+3000/p))
	}
	far := append(append([]byte{}, noise[:32768]...), noise[:32768]...)
	self, _ := os.ReadFile("/proc/self/exe")
	return map[string][]byte{
		"empty": nil, "one": {7}, "zeros": make([]byte, 1_000_000), "noise": noise, "skewed": skewed.Bytes(),
		"words": words.Bytes(), "periods": periods.Bytes(), "far": far, "program": self[:min(len(self), 3_000_000)],
	}
}

func pack(t testing.TB, b []byte, level int) []byte {
	t.Helper()
	var o bytes.Buffer
	z, err := gzip.NewWriterLevel(&o, level)
	if err != nil {
		t.Fatal(err)
	}
	z.Name, z.Comment, z.Extra = "name", "comment", []byte("extra")
	_, _ = z.Write(b)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return o.Bytes()
}

func TestReader(t *testing.T) {
	for name, text := range contents() {
		for _, level := range []int{gzip.HuffmanOnly, gzip.NoCompression, 1, 6, 9} {
			b := pack(t, text, level)
			got, err := read(b)
			if err != nil || !bytes.Equal(got, text) {
				t.Errorf("%s at level %d: %d of %d bytes, %v", name, level, len(got), len(text), err)
			}
			if len(text) > 800_000 {
				continue
			}
			for kind, r := range map[string]io.Reader{
				"byte by byte": iotest.OneByteReader(bytes.NewReader(b)), "halves": iotest.HalfReader(bytes.NewReader(b)),
				"error with the last bytes": iotest.DataErrReader(bytes.NewReader(b)),
			} {
				z, err := inflate.NewReader(r)
				if err != nil {
					t.Fatal(err)
				}
				if err := iotest.TestReader(z, text); err != nil {
					t.Errorf("%s at level %d, %s: %v", name, level, kind, err)
				}
			}
		}
	}
}

func TestMembers(t *testing.T) {
	a, b := pack(t, []byte("hello "), 6), pack(t, bytes.Repeat([]byte("world "), 100_000), 6)
	for name, in := range map[string][]byte{
		"two": append(append([]byte{}, a...), b...), "garbage follows": append(append([]byte{}, a...), "garbage and more"...),
		"zeros follow": append(append([]byte{}, a...), make([]byte, 600)...), "a byte follows": append(append([]byte{}, a...), 0x1f),
	} {
		t.Run(name, func(t *testing.T) { same(t, in) })
	}
	// The second member may not look back into the first one: a distance of 6 at its beginning.
	first := pack(t, []byte("secret"), gzip.NoCompression)
	evil := append(append([]byte{}, first...), 0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0)
	// Final block, fixed code; length 6 is symbol 260 (0000100); distance 6 is symbol 4 (00100) with extra bit 1.
	evil = append(evil, deflateBits("1"+"10"+"0000100"+"00100"+"1"+"0000000")...)
	evil = binary.LittleEndian.AppendUint32(evil, crc32.ChecksumIEEE([]byte("secret")))
	evil = binary.LittleEndian.AppendUint32(evil, 6)
	if got, err := read(evil); !errors.Is(err, inflate.ErrCorrupt) {
		t.Errorf("read %q across members, %v", got, err)
	}
	same(t, evil)
}

// deflateBits packs bits in the order in which a stream has them.
func deflateBits(s string) []byte {
	b := make([]byte, (len(s)+7)/8)
	for i, c := range s {
		if c == '1' {
			b[i/8] |= 1 << (i % 8)
		}
	}
	return b
}

// Every stream that is cut, and many in which a byte is changed, fails as with compress/gzip.
func TestBroken(t *testing.T) {
	text := contents()["words"][:3000]
	for _, level := range []int{gzip.HuffmanOnly, gzip.NoCompression, 6} {
		b := pack(t, text, level)
		for n := range b {
			same(t, b[:n])
		}
		r := rand.New(rand.NewPCG(3, 4))
		for range 3000 {
			c := append([]byte{}, b...)
			for range 1 + r.IntN(3) {
				c[r.IntN(len(c))] ^= 1 << r.IntN(8)
			}
			same(t, c)
		}
	}
}

// Streams of nothing but chance reach the tables from all sides.
func TestChance(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	head := []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0}
	for range 20_000 {
		b := append([]byte{}, head...)
		for range r.IntN(200) {
			b = append(b, byte(r.Uint32()))
		}
		same(t, b)
	}
}

func TestErrorOfTheSource(t *testing.T) {
	b := pack(t, contents()["words"], 6)
	broken := errors.New("broken")
	r, err := inflate.NewReader(io.MultiReader(bytes.NewReader(b[:len(b)/2]), iotest.ErrReader(broken)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, r); !errors.Is(err, broken) {
		t.Errorf("error is %v", err)
	}
}

func BenchmarkReader(b *testing.B) {
	text := contents()["words"]
	z := pack(b, text, 6)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		r, _ := inflate.NewReader(bytes.NewReader(z))
		_, _ = io.Copy(io.Discard, r)
	}
}
