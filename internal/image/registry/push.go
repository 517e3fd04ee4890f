package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"gcr/internal/image/reference"
)

// Push sends an image to the registry itself, never to a mirror.
func (c *Client) Push(ctx context.Context, dest string, img ggcr.Image) error {
	ref, err := reference.Parse(dest)
	if err != nil {
		return err
	}
	if _, ok := ref.(name.Digest); ok {
		return errors.New("the destination must not have a digest")
	}
	host := reference.Host(ref.Context().Registry)
	repo, err := c.at(host, ref.Context().RepositoryStr())
	if err != nil {
		return err
	}
	base, err := c.Transport(host)
	if err != nil {
		return err
	}
	err = remote.Write(repo.repo.Tag(ref.Identifier()), img,
		remote.WithContext(ctx), remote.WithTransport(base), remote.WithAuthFromKeychain(c.opt.Keychain),
		remote.WithRetryBackoff(remote.Backoff{Duration: c.opt.Backoff, Factor: 2, Jitter: 0.2, Steps: c.opt.Tries}))
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return explain(err, host)
	}
	return nil
}

// Check asks a registry whether it takes a user name and password.
func (c *Client) Check(ctx context.Context, host, user, password string) error {
	var opts []name.Option
	if c.set.PlainAllowed(host) {
		opts = append(opts, name.Insecure)
	}
	reg, err := name.NewRegistry(host, opts...)
	if err != nil {
		return fmt.Errorf("registry %q is not of the form HOST[:PORT]", host)
	}
	base, err := c.Transport(host)
	if err != nil {
		return err
	}
	auth := authn.FromConfig(authn.AuthConfig{Username: user, Password: password})
	rt, err := transport.NewWithContext(ctx, reg, auth, base, nil)
	if err != nil {
		return explain(err, host)
	}
	ping, err := transport.Ping(ctx, reg, base)
	if err != nil {
		return explain(err, host)
	}
	scheme := "https"
	if ping.Insecure {
		scheme = "http"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+reg.RegistryStr()+"/v2/", nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: rt, CheckRedirect: c.redirect}).Do(req)
	if err != nil {
		return explain(err, host)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	switch resp.StatusCode {
	case http.StatusOK:
		return nil
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%s does not take this user name and password", host)
	}
	return statusError(resp, host)
}
