// Package agree holds gcrun against crun: both run the same random configurations, and what a process sees inside
// must be the same. The differences that may be stand in allowed_test.go, each with its reason.
//
//	go test ./test/agree                                 # 60 configurations with -short, 400 without
//	GCR_TEST_FULL=1 go test -timeout 2h ./test/agree     # 3000
//	GCR_AGREE_SEED=1234 GCR_AGREE_COUNT=1 go test ./test/agree -v
//
// A configuration on which the two differ is made smaller as long as they still do, and printed.
package agree

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"gcr/test/lab"

	"golang.org/x/sys/unix"
)

func TestAgreeWithCrun(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	crun, err := exec.LookPath("crun")
	if err != nil {
		t.Skip("needs crun (Debian package crun)")
	}
	if !lab.HasGo() {
		t.Skip("the go command is missing")
	}
	// Containers become children of this process, which reaps them; mounts are made in a mount namespace of this
	// thread, which ends with it and takes them along.
	runtime.LockOSThread()
	must(t, unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
	// The machine's own network changes while the tests of others run.
	must(t, unix.Unshare(unix.CLONE_FS|unix.CLONE_NEWNS|unix.CLONE_NEWNET))
	must(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))

	b := newBench(t, crun)
	count := 400
	if testing.Short() {
		count = 60
	}
	if os.Getenv("GCR_TEST_FULL") != "" {
		count = 3000
	}
	count = number(t, "GCR_AGREE_COUNT", count)
	seed := number(t, "GCR_AGREE_SEED", int(time.Now().UnixNano()%1_000_000_000))
	t.Logf("GCR_AGREE_SEED=%d", seed)
	ran, refused := 0, 0
	used := map[string]int{}
	var found []string
	for i := range count {
		config := generate(b, uint64(seed+i))
		diffs, ok := b.compare(config, used)
		if ok {
			ran++
		} else {
			refused++
		}
		if len(diffs) == 0 {
			continue
		}
		kind := diffs[0].kind()
		found = append(found, kind)
		t.Errorf("seed %d: the runtimes differ:\n%s", seed+i, text(diffs))
		if len(found) > 5 {
			t.Fatal("enough")
		}
		small := b.shrink(config, kind)
		data, _ := json.MarshalIndent(small, "", " ")
		rest, _ := b.compare(small, map[string]int{})
		t.Logf("the smallest configuration that shows it:\n%s\n%s", data, text(rest))
	}
	t.Logf("%d configurations ran, %d were refused by both", ran, refused)
	for name, n := range used {
		t.Logf("allowed %d times: %s", n, name)
	}
	if count >= 60 && ran < count*4/5 {
		t.Errorf("of %d configurations only %d ran: the generator makes too many that are refused", count, ran)
	}
	if count >= 1000 {
		for _, a := range allowed {
			if used[a.name] == 0 {
				t.Errorf("the difference %q was never seen: it need not be allowed", a.name)
			}
		}
	}
}

// Each difference that is allowed is explained to the reader.
func TestAllowedDifferencesAreDocumented(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join(lab.Module(t), "docs/oci-conformance.md"))
	must(t, err)
	for _, a := range allowed {
		if !strings.Contains(string(doc), "| "+a.name+" |") {
			t.Errorf("docs/oci-conformance.md does not explain %q", a.name)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func number(t *testing.T, name string, otherwise int) int {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		return otherwise
	}
	n, err := strconv.Atoi(v)
	must(t, err)
	return n
}

func text(diffs []difference) string {
	var out strings.Builder
	for _, d := range diffs {
		fmt.Fprintf(&out, "  %s:\n    gcrun %s\n    crun  %s\n", d.key, d.gcrun, d.crun)
	}
	return out.String()
}
