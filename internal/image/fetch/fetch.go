// Package fetch brings a blob into a file: it goes on where a broken transfer, of this or of a killed process, ended,
// and lets others read what has come while the rest is still coming.
//
//	s := fetch.Start(ctx, file, desc, fetch.Source{Open: open})
//	unpack(s.Reader())   // follows the download
//	err := s.Wait()      // all there, and of the right digest
package fetch

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Source is where a blob comes from.
type Source struct {
	// Open gives the blob from offset, in bytes, to its end.
	Open func(ctx context.Context, offset int64) (io.ReadCloser, error)
	// Retry says whether an error of Open may go away, and after what pause at least (0: as the back-off says).
	// Without Retry nothing is tried again.
	Retry func(error) (bool, time.Duration)
	// Backoff before the first repetition; it doubles with each that brought nothing. Default 500 ms.
	Backoff time.Duration
	// Tries that bring nothing in a row before it is given up. Default 5.
	Tries int
	// Progress is told how many bytes have come.
	Progress func(n int64)
}

// ErrDigest is a blob with other content than its digest says.
var ErrDigest = errors.New("content does not match its digest")

// Spool is a blob on its way into a file.
type Spool struct {
	f       *os.File
	desc    v1.Descriptor
	src     Source
	resumed bool

	mu   sync.Mutex
	more sync.Cond
	n    int64 // bytes in the file that are ready to be read
	err  error
	over bool
}

// Start brings the blob desc into f, which may hold the beginning of it already. The caller closes f after Wait.
func Start(ctx context.Context, f *os.File, desc v1.Descriptor, src Source) *Spool {
	if src.Backoff == 0 {
		src.Backoff = 500 * time.Millisecond
	}
	if src.Tries == 0 {
		src.Tries = 5
	}
	if src.Progress == nil {
		src.Progress = func(int64) {}
	}
	s := &Spool{f: f, desc: desc, src: src}
	s.more.L = &s.mu
	go func() { s.finish(s.run(ctx)) }()
	return s
}

// Wait until the blob is complete and verified, or failed.
func (s *Spool) Wait() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.over {
		s.more.Wait()
	}
	return s.err
}

// Resumed says, after Wait, that the blob began with bytes from an earlier process: if it is wrong, it may have been
// that beginning.
func (s *Spool) Resumed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.resumed
}

// Remaining is how many bytes have not come yet.
func (s *Spool) Remaining() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.desc.Size - s.n
}

func (s *Spool) finish(err error) {
	s.mu.Lock()
	s.err, s.over = err, true
	s.mu.Unlock()
	s.more.Broadcast()
}

func (s *Spool) advance(n int64) {
	s.mu.Lock()
	s.n += n
	s.mu.Unlock()
	s.more.Broadcast()
	s.src.Progress(n)
}

func (s *Spool) run(ctx context.Context) error {
	h := sha256.New()
	st, err := s.f.Stat()
	if err != nil {
		return err
	}
	have := st.Size()
	if have > s.desc.Size {
		if err := s.f.Truncate(0); err != nil {
			return err
		}
		have = 0
	}
	if have > 0 {
		s.mu.Lock()
		s.resumed = true
		s.mu.Unlock()
		if _, err := io.Copy(h, io.NewSectionReader(s.f, 0, have)); err != nil {
			return err
		}
		s.advance(have)
	}
	idle, pause := 0, s.src.Backoff
	for have < s.desc.Size {
		n, err := s.transfer(ctx, h, have)
		have += n
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		again, atLeast := false, time.Duration(0)
		if s.src.Retry != nil {
			again, atLeast = s.src.Retry(err)
		}
		if !again {
			return err
		}
		if n > 0 {
			idle, pause = 0, s.src.Backoff
		}
		if idle++; idle >= s.src.Tries {
			return fmt.Errorf("%w; given up after %d tries with %d of %d bytes", err, idle, have, s.desc.Size)
		}
		wait := max(pause+time.Duration(rand.Int64N(int64(pause)/4+1)), atLeast)
		pause = min(2*pause, 30*time.Second)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
		}
	}
	if got := digest.NewDigest(digest.SHA256, h); got != s.desc.Digest {
		return fmt.Errorf("%w: want %s, got %s", ErrDigest, s.desc.Digest, got)
	}
	return nil
}

// ShortError is a transfer that ended before the size that the manifest gives.
type ShortError struct{ Got, Want int64 }

func (e *ShortError) Error() string {
	return fmt.Sprintf("transfer ended after %d of %d bytes", e.Got, e.Want)
}

// SizeError is a blob larger than its manifest says.
type SizeError struct{ Want int64 }

func (e *SizeError) Error() string {
	return fmt.Sprintf("content is larger than the %d bytes that the manifest says", e.Want)
}

// fileError is trouble with the file, which no repetition cures.
type fileError struct{ err error }

func (e fileError) Error() string { return "write download: " + e.err.Error() }
func (e fileError) Unwrap() error { return e.err }

func (s *Spool) transfer(ctx context.Context, h io.Writer, off int64) (int64, error) {
	r, err := s.src.Open(ctx, off)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	buf := make([]byte, 256<<10)
	var n int64
	for {
		k, err := r.Read(buf)
		if k > 0 {
			if off+n+int64(k) > s.desc.Size {
				return n, &SizeError{s.desc.Size}
			}
			if _, err := s.f.WriteAt(buf[:k], off+n); err != nil {
				return n, fileError{err}
			}
			h.Write(buf[:k])
			n += int64(k)
			s.advance(int64(k))
		}
		if err == io.EOF {
			if off+n < s.desc.Size {
				return n, &ShortError{off + n, s.desc.Size}
			}
			return n, nil
		}
		if err != nil {
			return n, err
		}
		if ctx.Err() != nil {
			return n, context.Cause(ctx)
		}
	}
}

// Local says whether an error is about the disk of this machine.
func Local(err error) bool {
	var f fileError
	return errors.As(err, &f)
}

// Reader reads the blob from its beginning and waits for what has not come yet. It gives io.EOF only for a blob that
// is complete and verified.
func (s *Spool) Reader() io.Reader { return &follower{s: s} }

type follower struct {
	s   *Spool
	off int64
}

func (r *follower) Read(p []byte) (int, error) {
	s := r.s
	s.mu.Lock()
	for r.off >= s.n && !s.over {
		s.more.Wait()
	}
	n, err, over := s.n, s.err, s.over
	s.mu.Unlock()
	if r.off < n && (!over || err == nil) {
		k, err := s.f.ReadAt(p[:min(int64(len(p)), n-r.off)], r.off)
		r.off += int64(k)
		if err == io.EOF && k > 0 {
			err = nil
		}
		return k, err
	}
	if err != nil {
		return 0, err
	}
	return 0, io.EOF
}
