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
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
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
func Decompress(r io.Reader) (io.ReadCloser, error) {
	br := bufio.NewReaderSize(r, 256<<10)
	c, err := Detect(br)
	if err != nil {
		return nil, err
	}
	switch c {
	case Gzip:
		z, err := gzip.NewReader(br)
		if err != nil {
			return nil, fmt.Errorf("decompress gzip: %w", err)
		}
		return named{z, "decompress gzip", func() { z.Close() }}, nil
	case Zstd:
		z, err := zstd.NewReader(br, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, fmt.Errorf("decompress zstd: %w", err)
		}
		return named{z, "decompress zstd", z.Close}, nil
	}
	return named{br, "read", func() {}}, nil
}

// Layer is the uncompressed stream of a blob, decompressed and digested ahead of the reader.
type Layer struct {
	*ahead
	digest *Digester
}

// Open starts to decompress r. Close stops the goroutines behind it; it must not be called while a Read is under way.
func Open(r io.Reader) (*Layer, error) {
	z, err := Decompress(r)
	if err != nil {
		return nil, err
	}
	d := NewDigester(z)
	return &Layer{newAhead(d, func() { d.Close(); z.Close() }), d}, nil
}

// Sum gives digest and size of the uncompressed stream, once Read has returned io.EOF.
func (l *Layer) Sum() (digest.Digest, int64) { return l.digest.Sum() }

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

const (
	blockSize = 256 << 10
	blocks    = 16 // read ahead at most 4 MiB
)

// ahead reads in a goroutine, so that decompression and the work of the reader overlap.
type ahead struct {
	full, free chan []byte
	errs       chan error
	stop       chan struct{}
	done       chan struct{}
	once       sync.Once
	release    func()
	cur, rest  []byte
	err        error
}

func newAhead(r io.Reader, release func()) *ahead {
	a := &ahead{
		full: make(chan []byte, blocks), free: make(chan []byte, blocks),
		errs: make(chan error, 1), stop: make(chan struct{}), done: make(chan struct{}), release: release,
	}
	for range blocks {
		a.free <- nil // allocated on first use
	}
	go a.run(r)
	return a
}

func (a *ahead) run(r io.Reader) {
	defer close(a.done)
	defer close(a.full)
	for {
		var b []byte
		select {
		case b = <-a.free:
		case <-a.stop:
			return
		}
		if b == nil {
			b = make([]byte, blockSize)
		}
		b = b[:blockSize]
		n, err := io.ReadFull(r, b)
		if n > 0 {
			select {
			case a.full <- b[:n]:
			case <-a.stop:
				return
			}
		}
		if err != nil {
			// ReadFull turns the end of the stream into one of two errors; a reader that itself met an
			// unexpected end says so wrapped, and keeps it.
			if err == io.EOF || err == io.ErrUnexpectedEOF {
				err = io.EOF
			}
			a.errs <- err
			return
		}
	}
}

func (a *ahead) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(a.rest) == 0 {
		if a.err != nil {
			return 0, a.err
		}
		if a.cur != nil {
			a.free <- a.cur
			a.cur = nil
		}
		b, ok := <-a.full
		if !ok {
			select {
			case a.err = <-a.errs:
			default:
				a.err = io.ErrClosedPipe
			}
			continue
		}
		a.cur, a.rest = b, b
	}
	n := copy(p, a.rest)
	a.rest = a.rest[n:]
	return n, nil
}

// Close stops reading ahead. It waits for the goroutine, which may be inside a Read of the underlying reader.
func (a *ahead) Close() error {
	a.once.Do(func() {
		close(a.stop)
		<-a.done
		a.release()
	})
	return nil
}

// Digester passes a stream through and takes its SHA-256 in a goroutine of its own.
type Digester struct {
	r    io.Reader
	h    hash.Hash
	n    int64
	work chan []byte
	free chan []byte
	done chan struct{}
	once sync.Once
}

// NewDigester takes the digest of what is read through it.
func NewDigester(r io.Reader) *Digester {
	d := &Digester{r: r, h: sha256.New(), work: make(chan []byte, 8), free: make(chan []byte, 8), done: make(chan struct{})}
	for range 8 {
		d.free <- nil
	}
	go func() {
		defer close(d.done)
		for b := range d.work {
			d.h.Write(b)
			d.free <- b
		}
	}()
	return d
}

const digestBlock = 128 << 10

func (d *Digester) Read(p []byte) (int, error) {
	n, err := d.r.Read(p)
	d.n += int64(n)
	for q := p[:n]; len(q) > 0; {
		k := min(len(q), digestBlock)
		b := <-d.free
		d.work <- append(b[:0], q[:k]...)
		q = q[k:]
	}
	return n, err
}

// Sum gives the digest and the number of bytes of all that was read. Nothing may be read after it.
func (d *Digester) Sum() (digest.Digest, int64) {
	d.once.Do(func() { close(d.work); <-d.done })
	return digest.NewDigest(digest.SHA256, d.h), d.n
}

// Close ends the goroutine when the digest is not wanted.
func (d *Digester) Close() { d.Sum() }
