package stream_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"

	"gcr/internal/image/stream"
)

func gz(b []byte) []byte {
	var o bytes.Buffer
	z := gzip.NewWriter(&o)
	_, _ = z.Write(b)
	_ = z.Close()
	return o.Bytes()
}

func zst(b []byte) []byte {
	z, _ := zstd.NewWriter(nil)
	return z.EncodeAll(b, nil)
}

func TestOpen(t *testing.T) {
	text := []byte(strings.Repeat("The quick brown fox. ", 300_000))
	skippable := append([]byte{0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3}, zst(text)...)
	for name, in := range map[string][]byte{
		"none": text, "gzip": gz(text), "zstd": zst(text), "zstd after a skippable frame": skippable,
		"two gzip members": append(gz(text[:1000]), gz(text[1000:])...), "two zstd frames": append(zst(text[:1000]), zst(text[1000:])...),
	} {
		l, err := stream.Open(bytes.NewReader(in))
		if err != nil {
			t.Fatal(err)
		}
		out, err := io.ReadAll(l)
		if err != nil || !bytes.Equal(out, text) {
			t.Errorf("%s: %d bytes, %v", name, len(out), err)
		}
		l.Close()
		if d, n := l.Sum(); d != digest.FromBytes(text) || n != int64(len(text)) {
			t.Errorf("%s: digest %s of %d bytes", name, d, n)
		}
	}
}

var errBroken = errors.New("broken")

type breaking struct {
	r io.Reader
	e error
}

func (b breaking) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err == io.EOF {
		err = b.e
	}
	return n, err
}

// An error of the source, and the end in the middle, must never look like the end.
func TestBrokenStreams(t *testing.T) {
	text := []byte(strings.Repeat("The quick brown fox. ", 100_000))
	for name, in := range map[string][]byte{"none": text, "gzip": gz(text), "zstd": zst(text)} {
		for _, e := range []error{errBroken, io.ErrUnexpectedEOF} {
			l, err := stream.Open(breaking{bytes.NewReader(in[:len(in)/2]), e})
			if err == nil {
				_, err = io.Copy(io.Discard, l)
				l.Close()
			}
			if !errors.Is(err, e) {
				t.Errorf("%s: error is %v, want %v", name, err, e)
			}
		}
		if name == "none" {
			continue
		}
		l, err := stream.Open(bytes.NewReader(in[:len(in)/2]))
		if err == nil {
			_, err = io.Copy(io.Discard, l)
			l.Close()
		}
		if err == nil {
			t.Errorf("%s: half a stream was read without an error", name)
		}
	}
	for _, in := range []string{"BZh9", "\xfd7zXZ"} {
		if _, err := stream.Open(strings.NewReader(in)); err == nil {
			t.Errorf("%q was taken", in)
		}
	}
	// Closed in the middle, nothing hangs.
	l, err := stream.Open(bytes.NewReader(gz(text)))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = l.Read(make([]byte, 10))
	l.Close()
}
