package image_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"gcr/internal/image"
	"gcr/internal/image/settings"
)

func basicAuth(user, pass string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		u, p, ok := r.BasicAuth()
		if ok && u == user && p == pass {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
}

func TestTLSAndBasicAuth(t *testing.T) {
	srv := newServer(t, true)
	srv.push(t, "x:v1", img(t, gz, tarOf("a=1")))
	srv.setFault(basicAuth("me", "secret"))
	set := &settings.Settings{Parallel: 3, Registries: map[string]settings.Registry{srv.host: {CA: caFile(t, srv)}}}
	good := keys{srv.host: {Username: "me", Password: "secret"}}
	if _, err := openStore(t, t.TempDir(), set, good).Pull(ctx, srv.host+"/x:v1", image.PullOptions{}); err != nil {
		t.Error(err)
	}
	_, err := openStore(t, t.TempDir(), set, nil).Pull(ctx, srv.host+"/x:v1", image.PullOptions{})
	fails(t, err, "401", "gcr login "+srv.host)
	_, err = openStore(t, t.TempDir(), set, keys{srv.host: {Username: "me", Password: "wrong"}}).Pull(ctx, srv.host+"/x:v1", image.PullOptions{})
	fails(t, err, "401")
	// An unknown certificate is refused, and nothing falls back to less.
	_, err = openStore(t, t.TempDir(), nil, good).Pull(ctx, srv.host+"/x:v1", image.PullOptions{})
	fails(t, err, "certificate")
	// Unless the settings say so.
	set = &settings.Settings{Parallel: 3, Registries: map[string]settings.Registry{srv.host: {Insecure: true}}}
	if _, err := openStore(t, t.TempDir(), set, good).Pull(ctx, srv.host+"/x:v1", image.PullOptions{}); err != nil {
		t.Error(err)
	}
}

func TestBearerToken(t *testing.T) {
	srv := newServer(t, false)
	srv.push(t, "x:v1", img(t, gz, tarOf("a=1")))
	srv.setFault(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/token" {
			u, p, _ := r.BasicAuth()
			if u != "me" || p != "secret" || r.URL.Query().Get("scope") != "repository:x:pull" {
				w.WriteHeader(401)
				return true
			}
			_, _ = io.WriteString(w, `{"token":"abc"}`)
			return true
		}
		if r.Header.Get("Authorization") == "Bearer abc" {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+srv.host+`/token",service="test"`)
		w.WriteHeader(401)
		return true
	})
	if _, err := openStore(t, t.TempDir(), nil, keys{srv.host: {Username: "me", Password: "secret"}}).Pull(ctx, srv.host+"/x:v1", image.PullOptions{}); err != nil {
		t.Error(err)
	}
	_, err := openStore(t, t.TempDir(), nil, nil).Pull(ctx, srv.host+"/x:v1", image.PullOptions{})
	fails(t, err, "401")
}

// CVE-2020-15157: a blob lies on another host, which must not see the credentials.
func TestCredentialsDoNotFollowRedirectsCVE202015157(t *testing.T) {
	for _, kind := range []string{"basic", "bearer"} {
		t.Run(kind, func(t *testing.T) {
			layer := tarOf("a=1")
			blob := gz(layer)
			var leaked atomic.Int64
			var served atomic.Int64
			store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				for h := range r.Header {
					if h == "Authorization" || h == "Cookie" {
						leaked.Add(1)
					}
				}
				if n := served.Add(1); n == 1 {
					// It even asks for them.
					w.Header().Set("WWW-Authenticate", `Basic realm="give"`)
					w.WriteHeader(401)
					return
				}
				_, _ = w.Write(blob)
			}))
			defer store.Close()
			srv := newServer(t, false)
			srv.push(t, "x:v1", img(t, gz, layer))
			auth := basicAuth("me", "secret")
			srv.setFault(func(w http.ResponseWriter, r *http.Request) bool {
				if kind == "bearer" {
					if r.URL.Path == "/token" {
						_, _ = io.WriteString(w, `{"token":"abc"}`)
						return true
					}
					if r.Header.Get("Authorization") != "Bearer abc" {
						w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+srv.host+`/token"`)
						w.WriteHeader(401)
						return true
					}
				} else if auth(w, r) {
					return true
				}
				if strings.Contains(r.URL.Path, "/blobs/"+sha(blob).String()) {
					http.Redirect(w, r, store.URL+"/bucket/blob?signature=1", http.StatusTemporaryRedirect)
					return true
				}
				return false
			})
			s := openStore(t, t.TempDir(), nil, keys{srv.host: {Username: "me", Password: "secret"}})
			_, err := s.Pull(ctx, srv.host+"/x:v1", image.PullOptions{})
			if err == nil {
				t.Log("the library retried without credentials and was served")
			}
			if _, err := s.Pull(ctx, srv.host+"/x:v1", image.PullOptions{}); err != nil {
				t.Error(err)
			}
			if leaked.Load() != 0 || served.Load() == 0 {
				t.Errorf("%d of %d requests to the other host had credentials", leaked.Load(), served.Load())
			}
		})
	}
}

func TestMirrors(t *testing.T) {
	origin, good, broken := newServer(t, false), newServer(t, false), newServer(t, false)
	i := img(t, gz, tarOf("a=1"))
	origin.push(t, "lib/x:v1", i)
	good.push(t, "lib/x:v1", i)
	broken.setFault(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(404); return true })
	set := &settings.Settings{Parallel: 3, Registries: map[string]settings.Registry{origin.host: {Mirrors: []string{"http://" + broken.host, "http://" + good.host}}}}
	before := len(origin.seen)
	s := openStore(t, t.TempDir(), set, keys{origin.host: {Username: "me", Password: "secret"}})
	got, err := s.Pull(ctx, origin.host+"/lib/x:v1", image.PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got.Names[0] != origin.host+"/lib/x:v1" {
		t.Errorf("name is %q", got.Names)
	}
	if len(origin.seen) > before || good.requests("/blobs/") == 0 || broken.requests("/manifests/")+broken.requests("GET /v2/") == 0 {
		t.Errorf("requests: origin %v, mirror %v, broken mirror %v", origin.seen, good.seen, broken.seen)
	}
	if len(good.auth)+len(broken.auth) > 0 {
		t.Error("a mirror was sent the registry's credentials")
	}
	// With no mirror well, the registry itself is asked.
	set = &settings.Settings{Parallel: 3, Registries: map[string]settings.Registry{origin.host: {Mirrors: []string{"http://" + broken.host}}}}
	if _, err := openStore(t, t.TempDir(), set, nil).Pull(ctx, origin.host+"/lib/x:v1", image.PullOptions{}); err != nil {
		t.Error(err)
	}
}

func TestPlainHTTPIsRefused(t *testing.T) {
	s := openStore(t, t.TempDir(), nil, nil)
	// 192.0.2.1 (RFC 5737) is never reached: the transport refuses before it dials.
	c, err := s.Client().Transport("192.0.2.1:5000")
	if err != nil {
		t.Fatal(err)
	}
	req, _ := http.NewRequest(http.MethodGet, "http://192.0.2.1:5000/v2/", nil)
	resp, err := c.RoundTrip(req)
	if err == nil {
		resp.Body.Close()
	}
	fails(t, err, "plain HTTP is not allowed", "insecure")
}
