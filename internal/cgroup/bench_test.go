package cgroup

import (
	"os"
	"testing"
)

// BenchmarkCreate makes and removes a group without limits, as each container start and end does.
func BenchmarkCreate(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root")
	}
	h, err := Detect()
	if err != nil {
		b.Fatal(err)
	}
	p, err := Compile(h, "/"+prefix+"-bench", nil, Options{})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		g, err := p.Create()
		if err != nil {
			b.Fatal(err)
		}
		files, err := g.TaskFiles()
		if err != nil {
			b.Fatal(err)
		}
		for _, f := range files {
			f.Close()
		}
		b.StopTimer()
		if err := g.Delete(b.Context()); err != nil {
			b.Fatal(err)
		}
		g.Close()
		b.StartTimer()
	}
}

// BenchmarkDetect is what every command pays once.
func BenchmarkDetect(b *testing.B) {
	for b.Loop() {
		if _, err := Detect(); err != nil {
			b.Fatal(err)
		}
	}
}
