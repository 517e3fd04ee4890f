package image

import (
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"

	ggcr "github.com/google/go-containerregistry/pkg/v1"

	"gcr/test/lab"
)

// A person watches a pull, loses patience and comes back: bars on a terminal, Ctrl-C, and then the rest only.
func testTerminal(s *scene, box ggcr.Layer) {
	noise := make([]byte, 3<<20) // does not compress
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(noise)
	ref := s.push("app:v1", ggcr.Config{}, box, layer(s.t, text("noise", string(noise))))
	// A registry that stops in the middle of what is large, until it is told to go on.
	inner := s.srv.Config.Handler
	var slow atomic.Bool
	var last atomic.Value
	slow.Store(true)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/") {
			inner.ServeHTTP(w, r)
			return
		}
		rec := httptest.NewRecorder()
		inner.ServeHTTP(rec, r)
		if rec.Body.Len() > 2<<20 {
			last.Store(r.Header.Get("Range"))
		}
		for k, v := range rec.Header() {
			w.Header()[k] = v
		}
		w.WriteHeader(rec.Code)
		b := rec.Body.Bytes()
		if !slow.Load() || len(b) < 2<<20 {
			_, _ = w.Write(b)
			return
		}
		_, _ = w.Write(b[:1<<20])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	defer srv.Close()
	ref = strings.Replace(ref, s.host, strings.TrimPrefix(srv.URL, "http://"), 1)

	term := lab.Start(s.t, s.command(lab.GCR(s.t), "pull", ref))
	term.Expect(`[0-9a-f]{12} .*1\.0 MiB / 3\.\d MiB`)
	term.Type("\x03")
	term.Expect(`gcr: interrupted`)
	if status := term.Wait(); status != 130 {
		s.t.Errorf("exit status %d after Ctrl-C", status)
	}
	slow.Store(false)
	term = lab.Start(s.t, s.command(lab.GCR(s.t), "pull", ref))
	term.Expect(`[0-9a-f]{12}: done`)
	term.Expect(`sha256:[0-9a-f]{64}`)
	if status := term.Wait(); status != 0 {
		s.t.Errorf("exit status %d: %s", status, term.Output())
	}
	if got, _ := last.Load().(string); !strings.HasPrefix(got, "bytes="+strconv.Itoa(1<<20)+"-") {
		s.t.Errorf("the rest was asked for with Range %q", got)
	}
	// The same with gcr run, which pulls: Ctrl-C leaves no container.
	s.want(0, "x", "run", "-q", ref, "echo", "x")
	s.nothing()
}
