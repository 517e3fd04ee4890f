package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"gcr/internal/image/fetch"
)

// StatusError is an answer of a registry that is no success.
type StatusError struct {
	Host   string
	Status int
	Code   string        // of the registry, OCI distribution-spec "Error Codes"
	Text   string        // of the registry
	After  time.Duration // when to come back, from Retry-After
}

func (e *StatusError) Error() string {
	s := fmt.Sprintf("%s answered %d %s", e.Host, e.Status, http.StatusText(e.Status))
	if e.Text != "" {
		s += ": " + e.Text
	}
	switch e.Status {
	case http.StatusUnauthorized, http.StatusForbidden:
		s += " (it may not exist, or need: gcr login " + e.Host + ")"
	case http.StatusTooManyRequests:
		s += " (the registry's limit; with an account it is higher: gcr login " + e.Host + ")"
	}
	return s
}

func statusError(resp *http.Response, host string) error {
	e := &StatusError{Host: host, Status: resp.StatusCode}
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	var body struct {
		Errors []struct{ Code, Message string }
	}
	if json.Unmarshal(b, &body) == nil && len(body.Errors) > 0 {
		e.Code, e.Text = body.Errors[0].Code, printable(body.Errors[0].Message)
	}
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s >= 0 {
		e.After = min(time.Duration(s)*time.Second, time.Minute)
	}
	return e
}

// printable keeps a registry from writing escape sequences to a terminal.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || (r >= 0x80 && r < 0xa0) {
			return ' '
		}
		return r
	}, s)
	if len(s) > 300 {
		s = s[:300] + "..."
	}
	return s
}

// explain turns errors of the HTTP client and of the token exchange into words about the registry.
func explain(err error, host string) error {
	var te *transport.Error
	if errors.As(err, &te) {
		e := &StatusError{Host: host, Status: te.StatusCode}
		if len(te.Errors) > 0 {
			e.Code, e.Text = string(te.Errors[0].Code), printable(te.Errors[0].Message)
		}
		return e
	}
	var ue *url.Error
	if errors.As(err, &ue) {
		// The address may carry a signature: name the host only.
		err = ue.Err
	}
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound {
		return fmt.Errorf("host %s is not known: %w", host, err)
	}
	return err
}

// Retryable says whether an error may go away by itself, and how long the registry wants to be left alone.
func Retryable(err error) (bool, time.Duration) {
	var se *StatusError
	if errors.As(err, &se) {
		switch se.Status {
		case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return true, se.After
		}
		return false, 0
	}
	var short *fetch.ShortError
	var size *fetch.SizeError
	var ne net.Error
	var dns *net.DNSError
	switch {
	case fetch.Local(err), errors.As(err, &size), errors.Is(err, context.Canceled) && !errors.Is(err, errStall):
		return false, 0
	case errors.As(err, &dns):
		return !dns.IsNotFound, 0
	case errors.As(err, &short), errors.Is(err, errStall), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNREFUSED),
		strings.Contains(err.Error(), "stream error"), strings.Contains(err.Error(), "GOAWAY"):
		return true, 0
	}
	return errors.As(err, &ne) && ne.Timeout(), 0
}

// repeat calls f until it succeeds, fails for good, or the tries are used up.
func (c *Client) repeat(ctx context.Context, f func() error) error {
	pause := c.opt.Backoff
	for try := 1; ; try++ {
		err := f()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		again, atLeast := Retryable(err)
		if !again {
			return err
		}
		if try >= c.opt.Tries {
			return fmt.Errorf("%w; given up after %d tries", err, try)
		}
		wait := max(pause+time.Duration(rand.Int64N(int64(pause)/4+1)), atLeast)
		pause *= 2
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

// Backoff and Tries as the client was made with, for transfers that repeat by themselves.
func (c *Client) Backoff() (time.Duration, int) { return c.opt.Backoff, c.opt.Tries }

var errStall = errors.New("transfer stalled")

// stallReader breaks a transfer off that brings nothing for a while.
type stallReader struct {
	r       io.ReadCloser
	t       *time.Timer
	every   time.Duration
	stalled atomic.Bool
	cancel  context.CancelCauseFunc
}

func newStallReader(r io.ReadCloser, every time.Duration, cancel context.CancelCauseFunc) *stallReader {
	s := &stallReader{r: r, every: every, cancel: cancel}
	s.t = time.AfterFunc(every, func() { s.stalled.Store(true); cancel(errStall) })
	return s
}

func (s *stallReader) Read(p []byte) (int, error) {
	s.t.Reset(s.every)
	n, err := s.r.Read(p)
	s.t.Stop()
	if err != nil && err != io.EOF && s.stalled.Load() {
		err = errStall
	}
	return n, err
}

func (s *stallReader) Close() error {
	s.t.Stop()
	err := s.r.Close()
	s.cancel(nil)
	return err
}
