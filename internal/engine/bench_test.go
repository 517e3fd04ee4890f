package engine

import "testing"

// BenchmarkFront is everything between the parsed flags and the configuration, on this machine.
func BenchmarkFront(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		h, err := ReadHost()
		if err != nil {
			b.Fatal(err)
		}
		root, err := FindRoot("host", nil)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := Build(&Options{Rootfs: "host", Command: []string{"true"}}, h, root); err != nil {
			b.Fatal(err)
		}
		root.Close()
	}
}
