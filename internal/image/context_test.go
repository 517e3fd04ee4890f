package image_test

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"gcr/internal/image/settings"
)

func contextWithCancel() (context.Context, context.CancelFunc) {
	return context.WithCancel(context.Background())
}

func settingsFor(t testing.TB, s *server) *settings.Settings {
	return &settings.Settings{Parallel: 3, Registries: map[string]settings.Registry{s.host: {CA: caFile(t, s)}}}
}

var v1Platform v1.Platform

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func waitFor(t testing.TB, port int) {
	t.Helper()
	for range 500 {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			c.Close()
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("nothing listens on port %d", port)
}
