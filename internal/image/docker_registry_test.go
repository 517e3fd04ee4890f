package image_test

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"gcr/internal/image"
	"gcr/internal/image/settings"
)

// dockerRegistry starts Debian's docker-registry as a process of its own; http and more go into its configuration.
// It returns its host and port.
func dockerRegistry(t *testing.T, http, more string) string {
	t.Helper()
	need(t, "docker-registry")
	dir := t.TempDir()
	port := freePort(t)
	cfg := fmt.Sprintf("version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: %s\n%shttp:\n  addr: 127.0.0.1:%d\n%s", dir, more, port, http)
	p := filepath.Join(dir, "config.yml")
	if err := os.WriteFile(p, []byte(cfg), 0o644); err != nil {
		t.Fatal(err)
	}
	c := exec.Command("docker-registry", "serve", p)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	waitFor(t, port)
	return fmt.Sprintf("127.0.0.1:%d", port)
}

// The second kind of registry.
func TestDockerRegistry(t *testing.T) {
	host := dockerRegistry(t, "", "")
	s, srv := stored(t)
	for _, n := range []string{"one", "two"} {
		if _, err := s.Push(ctx, srv.host+"/"+n+":v1", host+"/lib/"+n+":v1", nil); err != nil {
			t.Fatal(err)
		}
		to := openStore(t, t.TempDir(), nil, nil)
		i, err := to.Pull(ctx, host+"/lib/"+n+":v1", image.PullOptions{})
		if err != nil {
			t.Fatal(err)
		}
		a, _ := s.Resolve(srv.host+"/"+n+":v1", v1Platform)
		if a.Digest() != i.Digest() || files(t, a) != files(t, i) {
			t.Error("what came back is something else")
		}
		// And a broken download goes on with a range that this registry serves.
		l := a.Manifest().Layers[0]
		to = openStore(t, t.TempDir(), nil, nil)
		b, _ := os.ReadFile(filepath.Join(s.Root(), "blobs/sha256", l.Digest.Encoded()))
		_ = os.WriteFile(filepath.Join(to.Root(), "partial", "blob-"+l.Digest.Encoded()), b[:len(b)/2], 0o600)
		if _, err := to.Pull(ctx, host+"/lib/"+n+":v1", image.PullOptions{}); err != nil {
			t.Error(err)
		}
		clean(t, to)
	}
	_, err := s.Pull(ctx, host+"/lib/none:v1", image.PullOptions{})
	fails(t, err, "404", "manifest unknown")
}

// The same with TLS and with a password, which is "secret" for the user "me".
func TestDockerRegistryTLSAndPassword(t *testing.T) {
	dir := t.TempDir()
	donor := newServer(t, true) // of a certificate for loopback
	key, err := x509.MarshalPKCS8PrivateKey(donor.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	ca := caFile(t, donor)
	for name, b := range map[string][]byte{
		"key.pem":  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
		"htpasswd": []byte("me:$2a$05$Lu5BtcJ1w6PYnaDMztk76OJqZjoggvY3snkFFPoSE92Q7Eey1ZNgC\n"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	host := dockerRegistry(t,
		fmt.Sprintf("  tls:\n    certificate: %s\n    key: %s\n", ca, filepath.Join(dir, "key.pem")),
		fmt.Sprintf("auth:\n  htpasswd:\n    realm: test\n    path: %s\n", filepath.Join(dir, "htpasswd")))

	set := &settings.Settings{Parallel: 3, Registries: map[string]settings.Registry{host: {CA: ca}}}
	good := keys{host: {Username: "me", Password: "secret"}}
	srv := newServer(t, false)
	srv.push(t, "x:v1", img(t, gz, tarOf("a="+noise(11, 1<<20))))
	s := openStore(t, t.TempDir(), set, good)
	if _, err := s.Pull(ctx, srv.host+"/x:v1", image.PullOptions{}); err != nil {
		t.Fatal(err)
	}
	want, err := s.Push(ctx, srv.host+"/x:v1", host+"/x:v1", nil)
	if err != nil {
		t.Fatal(err)
	}
	i, err := openStore(t, t.TempDir(), set, good).Pull(ctx, host+"/x:v1", image.PullOptions{})
	if err != nil || i.Digest() != want {
		t.Errorf("%v, want %s, %v", i, want, err)
	}
	_, err = openStore(t, t.TempDir(), set, nil).Pull(ctx, host+"/x:v1", image.PullOptions{})
	fails(t, err, "401", "gcr login "+host)
	_, err = openStore(t, t.TempDir(), set, keys{host: {Username: "me", Password: "wrong"}}).Pull(ctx, host+"/x:v1", image.PullOptions{})
	fails(t, err, "401")
	_, err = openStore(t, t.TempDir(), nil, good).Pull(ctx, host+"/x:v1", image.PullOptions{})
	fails(t, err, "certificate")
}
