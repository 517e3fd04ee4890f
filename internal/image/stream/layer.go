package stream

import (
	"crypto/sha256"
	"hash"
	"io"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
)

const (
	blockSize = 256 << 10
	blocks    = 16 // read ahead at most 4 MiB
)

// Layer is the uncompressed stream of a blob. One goroutine decompresses it ahead of the reader into blocks, another
// takes the digest of the same blocks; none is copied until the reader has it.
type Layer struct {
	z    io.Closer
	hash hash.Hash
	size int64

	full   chan *block // to the reader
	digest chan *block // to the digest
	free   chan *block
	errs   chan error
	stop   chan struct{}
	read   chan struct{} // closed when nothing more is decompressed
	hashed chan struct{} // closed when the digest has all of it
	once   sync.Once

	cur  *block
	rest []byte
	err  error
}

// block is a piece of the stream that the reader and the digest share.
type block struct {
	b    []byte
	n    int
	refs atomic.Int32
}

// Open starts to decompress r. Close stops the goroutines behind it; it must not be called while a Read is under way.
func Open(r io.Reader) (*Layer, error) {
	// The digest of the whole says more than zstd's checksum of each frame.
	z, err := decompress(r, zstd.IgnoreChecksum(true))
	if err != nil {
		return nil, err
	}
	l := &Layer{
		z: z, hash: sha256.New(), errs: make(chan error, 1), stop: make(chan struct{}), read: make(chan struct{}), hashed: make(chan struct{}),
		full: make(chan *block, blocks), digest: make(chan *block, blocks), free: make(chan *block, blocks),
	}
	for range blocks {
		l.free <- &block{} // the memory comes with its first use
	}
	go l.decompress(z)
	go l.sum()
	return l, nil
}

func (l *Layer) decompress(r io.Reader) {
	defer close(l.read)
	defer close(l.full)
	defer close(l.digest)
	for {
		var b *block
		select {
		case b = <-l.free:
		case <-l.stop:
			return
		}
		if b.b == nil {
			b.b = make([]byte, blockSize)
		}
		n, err := io.ReadFull(r, b.b)
		if n > 0 {
			b.n = n
			b.refs.Store(2)
			// There is room for all blocks that exist.
			l.digest <- b
			l.full <- b
		}
		if err != nil {
			// ReadFull turns the end of the stream into one of two errors; a reader that itself met an
			// unexpected end says so wrapped, and keeps it.
			if err == io.EOF || err == io.ErrUnexpectedEOF {
				err = io.EOF
			}
			l.errs <- err
			return
		}
	}
}

func (l *Layer) sum() {
	defer close(l.hashed)
	for b := range l.digest {
		l.hash.Write(b.b[:b.n])
		l.size += int64(b.n)
		l.release(b)
	}
}

func (l *Layer) release(b *block) {
	if b.refs.Add(-1) == 0 {
		l.free <- b
	}
}

// Read implements io.Reader.
func (l *Layer) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(l.rest) == 0 {
		if l.err != nil {
			return 0, l.err
		}
		if l.cur != nil {
			l.release(l.cur)
			l.cur = nil
		}
		b, ok := <-l.full
		if !ok {
			select {
			case l.err = <-l.errs:
			default:
				l.err = io.ErrClosedPipe
			}
			continue
		}
		l.cur, l.rest = b, b.b[:b.n]
	}
	n := copy(p, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}

// Sum gives digest and size of the uncompressed stream, once Read has returned io.EOF.
func (l *Layer) Sum() (digest.Digest, int64) {
	<-l.hashed
	return digest.NewDigest(digest.SHA256, l.hash), l.size
}

// Close stops reading ahead. It waits for the goroutines, which may be inside a Read of the underlying reader.
func (l *Layer) Close() error {
	l.once.Do(func() {
		close(l.stop)
		<-l.read
		<-l.hashed
		_ = l.z.Close()
	})
	return nil
}
