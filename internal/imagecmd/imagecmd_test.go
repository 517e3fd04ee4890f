package imagecmd_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	ggcrregistry "github.com/google/go-containerregistry/pkg/registry"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"

	"gcr/internal/image/userns"
	"gcr/internal/imagecmd"
)

// The scripts in testdata run these commands as a person would, against a registry on loopback ($REGISTRY, and
// $AUTHREGISTRY for which user "me" has the password "secret").
func TestMain(m *testing.M) {
	userns.Hook()
	testscript.Main(m, map[string]func(){"gcr": gcr, "docker-credential-test": helper})
}

func gcr() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{Use: "gcr", SilenceUsage: true, SilenceErrors: true}
	root.AddCommand(imagecmd.Commands()...)
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "gcr:", err)
		os.Exit(1)
	}
}

// helper is a credential helper that keeps what it is given in a file (docker-credential-helpers, "Development").
func helper() {
	in, _ := io.ReadAll(os.Stdin)
	p := os.Getenv("HELPER_FILE")
	switch os.Args[1] {
	case "store":
		_ = os.WriteFile(p, in, 0o600)
	case "get":
		b, err := os.ReadFile(p)
		if err != nil {
			fmt.Print("credentials not found in native keychain")
			os.Exit(1)
		}
		fmt.Print(string(b))
	case "erase":
		_ = os.Remove(p)
	case "list":
		fmt.Print("{}")
	}
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			h := ggcrregistry.New(ggcrregistry.Logger(log.New(io.Discard, "", 0)))
			open := httptest.NewServer(h)
			e.Defer(open.Close)
			closed := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if u, p, _ := r.BasicAuth(); u != "me" || p != "secret" {
					w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
					w.WriteHeader(401)
					return
				}
				h.ServeHTTP(w, r)
			}))
			closed.TLS = &tls.Config{}
			closed.Config.ErrorLog = log.New(io.Discard, "", 0)
			closed.StartTLS()
			e.Defer(closed.Close)
			e.Setenv("REGISTRY", strings.TrimPrefix(open.URL, "http://"))
			e.Setenv("AUTHREGISTRY", strings.TrimPrefix(closed.URL, "https://"))
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("GCR_IMAGES", e.WorkDir+"/images")
			return os.WriteFile(e.WorkDir+"/registries.json", fmt.Appendf(nil, `{"registries": {%q: {"insecure": true}}, "limits": {}}`, strings.TrimPrefix(closed.URL, "https://")), 0o644)
		},
	})
}
