package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gcr/test/vm/wire"
)

// TestCPIO has the cpio program read what this package writes.
func TestCPIO(t *testing.T) {
	if _, err := exec.LookPath("cpio"); err != nil {
		t.Skip("cpio is not installed")
	}
	w := newCPIO()
	w.dir("d")
	w.file("d/odd", 0o755, []byte("12345"))
	w.file("empty", 0o600, nil)
	dir := t.TempDir()
	cmd := exec.Command("cpio", "-id", "--quiet")
	cmd.Dir, cmd.Stdin = dir, bytes.NewReader(w.bytes())
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("cpio: %v %s", err, out)
	}
	text, err := os.ReadFile(filepath.Join(dir, "d/odd"))
	if err != nil || string(text) != "12345" {
		t.Errorf("d/odd is %q, %v", text, err)
	}
	for name, mode := range map[string]os.FileMode{"d/odd": 0o755, "empty": 0o600} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v; want mode %v", name, info, err, mode)
		}
	}
}

func TestLoadOrder(t *testing.T) {
	dep := filepath.Join(t.TempDir(), "modules.dep")
	text := "kernel/virtio_blk.ko.xz: kernel/virtio-ring.ko.xz kernel/virtio.ko.xz\nkernel/virtio-ring.ko.xz: kernel/virtio.ko.xz\n" +
		"kernel/virtio.ko.xz:\nkernel/virtio_pci.ko.xz: kernel/virtio-ring.ko.xz kernel/virtio.ko.xz\n"
	if err := os.WriteFile(dep, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := loadOrder(dep, []string{"virtio_ring", "virtio_blk", "built_in", "virtio_pci"})
	want := []string{"kernel/virtio.ko.xz", "kernel/virtio-ring.ko.xz", "kernel/virtio_blk.ko.xz", "kernel/virtio_pci.ko.xz"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
}

// TestEvaluate counts the tests of outputs as test binaries write them.
func TestEvaluate(t *testing.T) {
	const all = "=== RUN   TestA\n--- PASS: TestA (0.00s)\n=== RUN   TestB\n=== RUN   TestB/x\n=== RUN   TestB/y\n" +
		"--- FAIL: TestB (0.00s)\n    --- PASS: TestB/x (0.00s)\n    --- FAIL: TestB/y (0.00s)\n" +
		"=== RUN   TestC\n    c_test.go:1: no such device\n--- SKIP: TestC (0.00s)\nFAIL\n"
	for _, c := range []struct {
		name, output    string
		status          int
		problem         string
		pass, bad, skip int
		ok              bool
		wantError       string
	}{
		{name: "mixed", output: all, status: 1, pass: 2, bad: 1, skip: 1},
		{name: "good", output: "=== RUN   TestA\n--- PASS: TestA (0.00s)\nPASS\n", pass: 1, ok: true},
		{name: "silent", output: "", wantError: noTests},
		{name: "died", output: "=== RUN   TestA\n", status: 137, bad: 1},
		{name: "died after", output: "=== RUN   TestA\n--- PASS: TestA (0.00s)\n", status: 2, pass: 1, wantError: "exit status 2 without a failed test"},
		{name: "limit", output: "=== RUN   TestA\n--- PASS: TestA (0.00s)\n", problem: "time limit", pass: 1, wantError: "time limit"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var r Result
			if err := r.evaluate(context.Background(), []byte(c.output), c.status, c.problem); err != nil {
				t.Fatal(err)
			}
			if r.Passed != c.pass || r.Failed != c.bad || r.Skipped != c.skip || r.ok() != c.ok || r.Error != c.wantError {
				t.Errorf("got %+v", r)
			}
		})
	}
}

// TestSuitesList checks the list itself: every place and package in it exists.
func TestSuitesList(t *testing.T) {
	found, err := findSuites()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(found, func(s suite) bool { return s.Package == "test/vm/guestcheck" && len(s.At) == len(places) }) {
		t.Errorf("the bench's own check does not run everywhere: %+v", found)
	}
	for _, p := range places {
		if p.Machine != "" && !slices.ContainsFunc(machines, func(m machine) bool { return m.Name == p.Machine }) {
			t.Errorf("place %s: no machine %s", p.Name, p.Machine)
		}
	}
}

// TestCacheEntry has an interrupted, a complete and a changed recipe.
func TestCacheEntry(t *testing.T) {
	t.Setenv("GCR_VM_CACHE", t.TempDir())
	c, err := openCache()
	if err != nil {
		t.Fatal(err)
	}
	made := 0
	fill := func(dir string) error {
		made++
		return os.WriteFile(filepath.Join(dir, "file"), []byte{byte(made)}, 0o644)
	}
	if _, err := c.entry("thing", "1", func(string) error { return errors.New("broken") }); err == nil {
		t.Error("a broken recipe made something")
	}
	first, err := c.entry("thing", "1", fill)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := c.entry("thing", "1", fill); err != nil || again != first || made != 1 {
		t.Errorf("the second time: %s, %v, made %d times; want the first, %s", again, err, made, first)
	}
	second, err := c.entry("thing", "2", fill)
	if err != nil || second == first || made != 2 {
		t.Errorf("another recipe: %s, %v, made %d times", second, err, made)
	}
	if names, _ := filepath.Glob(filepath.Join(c.dir, "thing-*")); !slices.Equal(names, []string{second}) {
		t.Errorf("the cache has %v, want only %s", names, second)
	}
}

func TestInputArchive(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.MkdirAll(filepath.Join(dir, "a"), 0o700), os.WriteFile(filepath.Join(dir, "a/program"), []byte("x"), 0o700),
		os.Symlink("program", filepath.Join(dir, "a/link"))); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "input")
	if err := packInput(name, dir, wire.Job{Tasks: []wire.Task{{Args: []string{"id"}, Limit: time.Second}}}); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("tar", "-tvf", name).CombinedOutput()
	if err != nil {
		t.Fatalf("%v %s", err, out)
	}
	for _, want := range []string{wire.JobFile, "drwxr-xr-x", "-rwxr-xr-x", "a/link -> program"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
}

func TestSummary(t *testing.T) {
	results := []Result{
		{Suite: "a", Place: "v2", Passed: 3, Skipped: 1, Skips: map[string]string{"TestX": "no device"}},
		{Suite: "a", Place: "arm64", Passed: 1, Failed: 1, Failures: []string{"TestY"}},
		{Suite: "b", Place: "v2", Error: "no test ran", Died: true},
	}
	var out strings.Builder
	if summarize(&out, results, time.Second) {
		t.Error("all is well with failures")
	}
	for _, want := range []string{"VM v2", "VM arm64", "3/0/1", "1/1/0", "0/0/0 broken", "TestY", "no device: v2 a TestX", "4 passed, 2 failed, 1 skipped", "died in b at v2"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
	if !summarize(&out, results[:1], time.Second) {
		t.Error("not all is well without a failure")
	}
}

// TestFailedOnly runs nothing when nothing has failed, and never takes missing results for good ones.
func TestFailedOnly(t *testing.T) {
	file := filepath.Join(t.TempDir(), "results.json")
	chosen := []suite{{Package: "a", At: []string{"v2", "arm64"}}, {Package: "b", At: []string{"v2"}}, {Package: "c", At: []string{"v2"}}}
	if _, err := failedOnly(chosen, file); err == nil {
		t.Error("there are no results")
	}
	for _, c := range []struct {
		results []Result
		want    string
	}{
		{[]Result{{Suite: "a", Place: "v2", Passed: 1}, {Suite: "a", Place: "arm64", Failed: 1}, {Suite: "b", Place: "v2", Error: "no test ran"}, {Suite: "c", Place: "v2"}}, "a at [arm64] b at [v2] "},
		{[]Result{{Suite: "a", Place: "v2", Passed: 1}}, ""},
	} {
		if err := save(c.results, file); err != nil {
			t.Fatal(err)
		}
		left, err := failedOnly(chosen, file)
		got := ""
		for _, s := range left {
			got += fmt.Sprintf("%s at %v ", s.Package, s.At)
		}
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("runs %q, %v; want %q", got, err, c.want)
		}
	}
}
