// Package progress shows how far a transfer is: bars on a terminal, lines elsewhere.
//
//	p := progress.New(os.Stderr)
//	b := p.Bar("3f4a…", size)
//	b.Add(n)
//	b.Done("done")
//	p.Wait()
package progress

import (
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

// Reporter shows several transfers at a time. A nil Reporter shows nothing.
type Reporter struct {
	w    io.Writer
	bars *mpb.Progress
	mu   sync.Mutex
}

// New shows bars where w is a terminal, and lines elsewhere.
func New(w io.Writer) *Reporter {
	r := &Reporter{w: w}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		r.bars = mpb.New(mpb.WithOutput(w), mpb.WithWidth(40))
	}
	return r
}

// Line writes a line of its own, above the bars.
func (r *Reporter) Line(format string, args ...any) {
	if r == nil {
		return
	}
	s := fmt.Sprintf(format, args...) + "\n"
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bars != nil {
		_, _ = r.bars.Write([]byte(s))
		return
	}
	_, _ = io.WriteString(r.w, s)
}

// Bar is one transfer.
type Bar struct {
	r    *Reporter
	name string
	b    *mpb.Bar
	once sync.Once
}

// Bar starts to show a transfer of so many bytes.
func (r *Reporter) Bar(name string, size int64) *Bar {
	b := &Bar{r: r, name: name}
	if r != nil && r.bars != nil {
		b.b = r.bars.AddBar(max(size, 1),
			mpb.BarRemoveOnComplete(),
			mpb.PrependDecorators(decor.Name(name+" ")),
			mpb.AppendDecorators(decor.CountersKibiByte("% .1f / % .1f"), decor.Name(" "), decor.AverageSpeed(decor.SizeB1024(0), "% .1f")))
	}
	return b
}

// Add says that n more bytes have come.
func (b *Bar) Add(n int64) {
	if b.b != nil {
		b.b.IncrInt64(n)
	}
}

// Done ends it with a word: "done", "already there". Only the first call counts.
func (b *Bar) Done(word string) {
	b.once.Do(func() {
		if b.b != nil {
			b.b.Abort(true)
			b.b.Wait()
		}
		b.r.Line("%s: %s", b.name, word)
	})
}

// Fail takes the bar away without a word; the error is reported elsewhere.
func (b *Bar) Fail() {
	b.once.Do(func() {
		if b.b != nil {
			b.b.Abort(true)
		}
	})
}

// Wait until what was written is on the screen.
func (r *Reporter) Wait() {
	if r != nil && r.bars != nil {
		r.bars.Wait()
	}
}
