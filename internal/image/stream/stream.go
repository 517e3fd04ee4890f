// Package stream reads layer blobs: it finds out how they are compressed, decompresses ahead of the reader in a
// goroutine of its own, and takes digests on the way.
//
//	l, err := stream.Open(blob)
//	defer l.Close()
//	io.Copy(dst, l)
//	diffID, size := l.Sum()
package stream

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"gcr/internal/image/inflate"
)

// maxWindow bounds what a zstd frame may ask for in memory (RFC 8878, "Window_Descriptor"): that of zstd -19. A frame
// made with --ultra or --long=27 asks for 128 MiB, which is allowed as the largest that zstd itself accepts unasked.
const maxWindow = 128 << 20

// Compression of a blob.
type Compression int

// What layers come in.
const (
	None Compression = iota
	Gzip
	Zstd
)

func (c Compression) String() string { return [...]string{"none", "gzip", "zstd"}[c] }

// Detect tells the compression from the first bytes, which it leaves in the reader. Image tools do the same: media
// types in the wild do not always tell the truth.
func Detect(br *bufio.Reader) (Compression, error) {
	head, err := br.Peek(4)
	if err != nil && err != io.EOF {
		return None, err
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return Gzip, nil
	case bytes.Equal(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return Zstd, nil
	case len(head) == 4 && head[0]&0xf0 == 0x50 && bytes.Equal(head[1:], []byte{0x2a, 0x4d, 0x18}):
		return Zstd, nil // a skippable frame first, as zstd:chunked has it
	case bytes.HasPrefix(head, []byte("BZh")):
		return None, errors.New("compressed with bzip2, which image layers may not be (OCI image-spec: none, gzip, zstd)")
	case bytes.Equal(head, []byte{0xfd, '7', 'z', 'X'}):
		return None, errors.New("compressed with xz, which image layers may not be (OCI image-spec: none, gzip, zstd)")
	}
	return None, nil
}

// Decompress gives the uncompressed form of r.
func Decompress(r io.Reader) (io.ReadCloser, error) { return decompress(r) }

func decompress(r io.Reader, more ...zstd.DOption) (io.ReadCloser, error) {
	br := bufio.NewReaderSize(r, 64<<10) // larger reads go past it
	c, err := Detect(br)
	if err != nil {
		return nil, err
	}
	switch c {
	case Gzip:
		z, err := inflate.NewReader(br)
		if err != nil {
			return nil, fmt.Errorf("decompress gzip: %w", err)
		}
		return named{z, "decompress gzip", func() {}}, nil
	case Zstd:
		// One goroutine: the digest and the work of the reader keep other processors busy.
		o := append(more, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true), zstd.WithDecoderConcurrency(1))
		z, err := zstd.NewReader(br, o...)
		if err != nil {
			return nil, fmt.Errorf("decompress zstd: %w", err)
		}
		return named{z, "decompress zstd", z.Close}, nil
	}
	return named{br, "read", func() {}}, nil
}

// named says in errors what was being decompressed. Errors of the reader below pass through unchanged.
type named struct {
	r     io.Reader
	name  string
	close func()
}

func (n named) Close() error { n.close(); return nil }

func (n named) Read(p []byte) (int, error) {
	c, err := n.r.Read(p)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("%s: %w", n.name, err)
	}
	return c, err
}
