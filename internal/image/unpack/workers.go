package unpack

import (
	"archive/tar"
	"sync"
	"sync/atomic"
)

// job is an entry that only needs its parent directory: it can be written by any worker, in any order.
type job struct {
	d    *dir
	name string
	h    *tar.Header
	buf  *[]byte // content of a small regular file, from Tree.pool
}

type jobKey struct {
	dev, ino uint64
	name     string
}

func (j job) key() jobKey { return jobKey{j.d.dev, j.d.ino, j.name} }

// inflight is what the workers have not finished yet. An entry that names the same file as one in flight, and
// everything that looks at the tree (hard links, whiteouts, unknown parents), waits until it is empty; so the result
// is that of unpacking in order.
type inflight struct {
	mu    sync.Mutex
	idle  sync.Cond
	keys  map[jobKey]struct{}
	err   error
	links atomic.Int32 // symlinks among them: they can change what a path means
}

func (w *inflight) add(j job) {
	w.mu.Lock()
	w.keys[j.key()] = struct{}{}
	w.mu.Unlock()
	if j.h.Typeflag == tar.TypeSymlink {
		w.links.Add(1)
	}
}

func (w *inflight) done(j job, err error) {
	w.mu.Lock()
	delete(w.keys, j.key())
	if err != nil && w.err == nil {
		w.err = err
	}
	if len(w.keys) == 0 {
		w.idle.Broadcast()
	}
	w.mu.Unlock()
	if j.h.Typeflag == tar.TypeSymlink {
		w.links.Add(-1)
	}
}

func (w *inflight) has(k jobKey) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, ok := w.keys[k]
	return ok
}

func (w *inflight) failed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// drain waits until the workers have nothing left.
func (t *Tree) drain() error {
	w := t.wait
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.keys) > 0 {
		w.idle.Wait()
	}
	return w.err
}

func (t *Tree) startWorkers() {
	t.wait = &inflight{keys: map[jobKey]struct{}{}}
	t.wait.idle.L = &t.wait.mu
	t.jobs = make(chan job, 8*t.opt.Workers)
	var wg sync.WaitGroup
	for range t.opt.Workers {
		wg.Go(func() {
			for j := range t.jobs {
				t.run(j)
			}
		})
	}
	t.seal = sync.OnceFunc(func() { close(t.jobs); wg.Wait() })
}

// submit hands a job to the workers, who release its directory and buffer.
func (t *Tree) submit(j job) error {
	if err := t.wait.failed(); err != nil {
		j.d.release()
		if j.buf != nil {
			t.pool.Put(j.buf)
		}
		return err
	}
	t.wait.add(j)
	t.jobs <- j
	return nil
}

func (t *Tree) run(j job) {
	var err error
	switch j.h.Typeflag {
	case tar.TypeSymlink, tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		err = t.special(j)
	default:
		err = t.regular(j, nil)
	}
	if j.buf != nil {
		t.pool.Put(j.buf)
	}
	if err != nil {
		err = entryError(j.h.Name, kindOf(j.h), err)
	}
	j.d.release()
	t.wait.done(j, err)
}

type counters struct{ entries, bytes, dropped, recorded atomic.Int64 }

func (c *counters) reset() {
	c.entries.Store(0)
	c.bytes.Store(0)
	c.dropped.Store(0)
	c.recorded.Store(0)
}

func (c *counters) sum() Stats {
	return Stats{c.entries.Load(), c.bytes.Load(), c.dropped.Load(), c.recorded.Load()}
}
