// Package registry speaks the OCI distribution protocol (v1.1, which is Docker's registry API v2): manifests and
// blobs, with mirrors, retries, resumption, and credentials that go to the host that asked for them and to no other.
//
//	c, err := registry.New(settings, registry.Options{})
//	r, err := c.Resolve(ctx, ref)                 // the first of mirrors and registry that has it
//	raw, mediaType, err := r.Manifest(ctx, ref.Identifier())
//	body, err := r.Blob(ctx, desc, 0)
package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"gcr/internal/image/manifest"
	"gcr/internal/image/reference"
	"gcr/internal/image/settings"
)

// Options for New; the zero value is right for commands.
type Options struct {
	Keychain authn.Keychain // credentials; default Docker's configuration and credential helpers
	Backoff  time.Duration  // pause before the first repetition; default 500 ms
	Tries    int            // default 5
	Stall    time.Duration  // a transfer that brings nothing for so long is broken off; default 60 s
}

// Client holds connections and tokens for one command.
type Client struct {
	set  *settings.Settings
	opt  Options
	mu   sync.Mutex
	base map[string]http.RoundTripper // by host, since TLS settings are
	auth map[string]*http.Client      // by host and repository
}

// New makes a client.
func New(s *settings.Settings, o Options) *Client {
	if o.Keychain == nil {
		o.Keychain = authn.DefaultKeychain
	}
	if o.Backoff == 0 {
		o.Backoff = 500 * time.Millisecond
	}
	if o.Tries == 0 {
		o.Tries = 5
	}
	if o.Stall == 0 {
		o.Stall = time.Minute
	}
	return &Client{set: s, opt: o, base: map[string]http.RoundTripper{}, auth: map[string]*http.Client{}}
}

// Settings that the client was made with.
func (c *Client) Settings() *settings.Settings { return c.set }

// Transport is the way to a host without credentials: TLS as the settings say, no HTTP where it is not allowed.
func (c *Client) Transport(host string) (http.RoundTripper, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.base[host]; t != nil {
		return t, nil
	}
	tc := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca := c.set.Registries[host].CA; ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, fmt.Errorf("read settings (registries.%s.ca): %w", host, err)
		}
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read settings (registries.%s.ca): %s holds no PEM certificate", host, ca)
		}
		tc.RootCAs = pool
	}
	tc.InsecureSkipVerify = c.set.Insecure(host)
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:       tc,
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   16,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: time.Minute,
		DisableCompression:    true, // a blob is what its digest says, byte for byte
		ReadBufferSize:        64 << 10,
	}
	c.base[host] = &guard{next: t, set: c.set}
	return c.base[host], nil
}

// guard refuses plain HTTP where it was not allowed, whatever a redirect or a fall-back of a library says.
type guard struct {
	next http.RoundTripper
	set  *settings.Settings
	bad  atomic.Pointer[tls.CertificateVerificationError]
}

func (g *guard) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme == "http" && g.bad.Load() != nil {
		return nil, g.bad.Load() // a server with a bad certificate is no reason to do without TLS
	}
	if r.URL.Scheme == "http" && !g.set.PlainAllowed(r.URL.Host) {
		return nil, fmt.Errorf("%s does not speak HTTPS, and plain HTTP is not allowed (\"insecure\": true for it in %s would)", r.URL.Host, settings.Path())
	}
	resp, err := g.next.RoundTrip(r)
	var bad *tls.CertificateVerificationError
	if errors.As(err, &bad) {
		g.bad.Store(bad)
	}
	return resp, err
}

// Repository is a repository at one endpoint.
type Repository struct {
	c    *Client
	repo name.Repository
	host string // as the settings know it
	next *Repository
}

// Host that the repository is at.
func (r *Repository) Host() string { return r.host }

// endpoints lists the mirrors of a repository and the registry itself, in the order to try them.
func (c *Client) endpoints(repo name.Repository) ([]*Repository, error) {
	host := reference.Host(repo.Registry)
	var out []*Repository
	for _, m := range c.set.Registries[host].Mirrors {
		h, _, err := settings.Mirror(m)
		if err != nil {
			return nil, err
		}
		r, err := c.at(h, repo.RepositoryStr())
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	r, err := c.at(host, repo.RepositoryStr())
	if err != nil {
		return nil, err
	}
	return append(out, r), nil
}

func (c *Client) at(host, path string) (*Repository, error) {
	var opts []name.Option
	if c.set.PlainAllowed(host) {
		opts = append(opts, name.Insecure)
	}
	repo, err := name.NewRepository(host+"/"+path, opts...)
	if err != nil {
		return nil, err
	}
	return &Repository{c: c, repo: repo, host: host}, nil
}

// Resolve asks the mirrors and then the registry for a manifest and gives the place that had it.
func (c *Client) Resolve(ctx context.Context, ref name.Reference) (*Repository, []byte, string, error) {
	eps, err := c.endpoints(ref.Context())
	if err != nil {
		return nil, nil, "", err
	}
	var errs []error
	for i, ep := range eps {
		raw, mt, err := ep.Manifest(ctx, ref.Identifier())
		if err == nil {
			if i+1 < len(eps) {
				ep.next = eps[len(eps)-1]
			}
			return ep, raw, mt, nil
		}
		if ctx.Err() != nil {
			return nil, nil, "", context.Cause(ctx)
		}
		if len(eps) > 1 {
			err = fmt.Errorf("%s: %w", ep.host, err)
		}
		errs = append(errs, err)
	}
	return nil, nil, "", errors.Join(errs...)
}

// client gives the HTTP client with credentials for this repository.
func (r *Repository) client(ctx context.Context, action string) (*http.Client, error) {
	key := r.repo.String() + " " + action
	r.c.mu.Lock()
	h := r.c.auth[key]
	r.c.mu.Unlock()
	if h != nil {
		return h, nil
	}
	base, err := r.c.Transport(r.host)
	if err != nil {
		return nil, err
	}
	auth, err := authn.Resolve(ctx, r.c.opt.Keychain, r.repo)
	if err != nil {
		return nil, fmt.Errorf("read credentials for %s: %w", r.host, err)
	}
	// The library finds out how the registry wants to be asked (Basic, or a Bearer token from its token server),
	// and adds the Authorization header for this host only (CVE-2020-15157).
	rt, err := transport.NewWithContext(ctx, r.repo.Registry, auth, base, []string{r.repo.Scope(action)})
	if err != nil {
		return nil, err
	}
	h = &http.Client{Transport: rt, CheckRedirect: r.c.redirect}
	r.c.mu.Lock()
	r.c.auth[key] = h
	r.c.mu.Unlock()
	return h, nil
}

// redirect allows what registries need, a blob in some object store, and nothing more.
func (c *Client) redirect(req *http.Request, via []*http.Request) error {
	if len(via) >= 10 {
		return errors.New("more than 10 redirects")
	}
	from, to := via[0].URL, req.URL
	if from.Scheme == "https" && to.Scheme != "https" {
		return fmt.Errorf("redirect from %s to plain HTTP at %s is refused", from.Host, to.Host)
	}
	if from.Host != to.Host {
		req.Header.Del("Authorization")
		req.Header.Del("Cookie")
		if private(to.Hostname()) && !private(from.Hostname()) {
			return fmt.Errorf("redirect from %s to the internal address %s is refused", from.Host, to.Host)
		}
	}
	return nil
}

func private(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && (ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast() || ip.IsUnspecified())
}

func (r *Repository) url(kind, id string) string {
	u := url.URL{Scheme: r.repo.Scheme(), Host: r.repo.RegistryStr(), Path: "/v2/" + r.repo.RepositoryStr() + "/" + kind + "/" + id}
	return u.String()
}

// Manifest fetches a manifest by tag or digest, with its media type. By digest it is verified.
func (r *Repository) Manifest(ctx context.Context, id string) ([]byte, string, error) {
	var raw []byte
	var mt string
	err := r.c.repeat(ctx, func() error {
		resp, err := r.get(ctx, r.url("manifests", id), http.Header{"Accept": manifest.Accept})
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(io.LimitReader(resp.Body, manifest.MaxSize+1))
		if err != nil {
			return err
		}
		if len(b) > manifest.MaxSize {
			return fmt.Errorf("manifest is larger than %d bytes", manifest.MaxSize)
		}
		raw, mt = b, resp.Header.Get("Content-Type")
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	if strings.Contains(id, ":") {
		d, err := reference.Digest(id)
		if err != nil {
			return nil, "", err
		}
		if got := d.Algorithm().FromBytes(raw); got != d {
			return nil, "", fmt.Errorf("manifest has digest %s in place of %s; the registry, or something on the way, changed it", got, d)
		}
	}
	return raw, mt, nil
}

// Blob opens a blob from offset, in bytes. What the caller reads is not verified.
func (r *Repository) Blob(ctx context.Context, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	body, err := r.blob(ctx, d, offset)
	if err != nil && r.next != nil && ctx.Err() == nil {
		if b, e := r.next.blob(ctx, d, offset); e == nil { // the mirror lost it
			return b, nil
		}
	}
	return body, err
}

func (r *Repository) blob(ctx context.Context, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	h := http.Header{}
	if offset > 0 {
		// With its end: there are registries that do not know the open form.
		h.Set("Range", fmt.Sprintf("bytes=%d-%d", offset, d.Size-1))
	}
	ctx, cancel := context.WithCancelCause(ctx)
	resp, err := r.get(ctx, r.url("blobs", d.Digest.String()), h)
	var se *StatusError
	if offset > 0 && errors.As(err, &se) && se.Status == http.StatusRequestedRangeNotSatisfiable {
		resp, err = r.get(ctx, r.url("blobs", d.Digest.String()), nil)
	}
	if err != nil {
		cancel(nil)
		return nil, err
	}
	body := newStallReader(resp.Body, r.c.opt.Stall, cancel)
	switch {
	case resp.StatusCode == http.StatusPartialContent && offset > 0:
		var first int64
		if _, err := fmt.Sscanf(resp.Header.Get("Content-Range"), "bytes %d-", &first); err != nil || first != offset {
			body.Close()
			return nil, fmt.Errorf("registry sent range %q when asked to go on at byte %d", resp.Header.Get("Content-Range"), offset)
		}
	case offset > 0:
		// The registry does not know ranges (RFC 9110 section 14.2 lets it): what is known already is read past.
		if _, err := io.CopyN(io.Discard, body, offset); err != nil {
			body.Close()
			return nil, noEOF(err)
		}
	case resp.ContentLength > d.Size:
		body.Close()
		return nil, fmt.Errorf("registry offers %d bytes where the manifest says %d", resp.ContentLength, d.Size)
	}
	return body, nil
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (r *Repository) get(ctx context.Context, u string, h http.Header) (*http.Response, error) {
	hc, err := r.client(ctx, transport.PullScope)
	if err != nil {
		return nil, explain(err, r.host)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return nil, err
	}
	for k, v := range h {
		req.Header[k] = []string{strings.Join(v, ", ")}
	}
	resp, err := hc.Do(req)
	if err != nil {
		return nil, explain(err, r.host)
	}
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusPartialContent {
		defer resp.Body.Close()
		return nil, statusError(resp, r.host)
	}
	return resp, nil
}
