package main

import (
	"fmt"
	"time"
)

// result is what one measure found, for each contender that took part.
type result struct {
	Name    string
	Unit    unit
	Samples map[string][]float64 // by contender, in the unit
	User    map[string][]float64 // processor time in milliseconds, for times
	Sys     map[string][]float64
	Order   []string // of the contenders
}

// unit is what the numbers of a result are.
type unit string

const (
	milliseconds unit = "ms"
	kibibytes    unit = "KiB"
	count        unit = "calls"
)

func (b *bench) newResult(name string, u unit, who []*contender) *result {
	r := &result{Name: name, Unit: u, Samples: map[string][]float64{}, User: map[string][]float64{}, Sys: map[string][]float64{}}
	for _, c := range who {
		r.Order = append(r.Order, c.name)
	}
	b.results = append(b.results, r)
	fmt.Println(name)
	return r
}

func (r *result) add(name string, value float64) {
	r.Samples[name] = append(r.Samples[name], value)
}

func (r *result) addUsage(name string, u usage, n int) {
	ms := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 / float64(n) }
	r.add(name, ms(u.Wall))
	r.User[name] = append(r.User[name], ms(u.User))
	r.Sys[name] = append(r.Sys[name], ms(u.Sys))
}

func (r *result) print() {
	for _, name := range r.Order {
		if s := r.Samples[name]; len(s) > 0 {
			fmt.Printf("  %-12s %9.2f %s  p90 %9.2f  p99 %9.2f\n", name, median(s), r.Unit, quantile(s, 0.9), quantile(s, 0.99))
		}
	}
}

// measureAll does everything that the mode asks for.
func (b *bench) measureAll() error {
	for _, a := range acts {
		list := variants
		if b.quick {
			list = list[:1]
		}
		for _, v := range list {
			b.measure(a, v, warm, b.samples(40))
		}
	}
	b.measure(actRun, plain, idle, b.samples(25))
	if !b.quick {
		for _, a := range acts[1:] {
			b.measure(a, plain, idle, b.samples(12))
		}
		for _, v := range variants[1:] {
			b.measure(actRun, v, idle, b.samples(10))
		}
	}
	b.measure(actRun, plain, mixed, b.samples(40))
	b.tools()
	for _, n := range []int{1, 4, 16} {
		b.parallel(actRun, n, b.samples(15))
		if !b.quick {
			for _, a := range acts[1:] {
				b.parallel(a, n, b.samples(5))
			}
		}
	}
	b.memory()
	b.held()
	b.calls()
	b.sizes()
	if b.only == "" || b.wants("timeline") {
		var err error
		if b.steps, err = b.timeline(); err != nil {
			b.skip("timeline", err)
		}
	}
	return nil
}

// measure times one act, the contenders taking turns.
func (b *bench) measure(a act, v variant, t turns, samples int) {
	name := a.name + ", " + v.name
	if a.name == actTool.name {
		name = "run of " + v.withArticle()
	}
	name += t.name
	if !b.wants(name) {
		return
	}
	who := b.with(func(c *contender) bool {
		// Docker takes no directory.
		return a.who(c) && c.knows(v) && (c.name != nameDocker || v.image)
	})
	s, err := newSpawner()
	if err != nil {
		b.skip(name, err)
		return
	}
	defer s.close()
	r := b.newResult(name, milliseconds, who)
	failed := map[string]bool{}
	for _, turn := range t.order(len(who), samples) {
		c := who[turn.who]
		if failed[c.name] {
			continue
		}
		u, err := b.sample(s, a, c, v, t.pause)
		if err != nil {
			b.skip(name+" of "+c.name, err)
			failed[c.name] = true
			continue
		}
		if turn.counted {
			r.addUsage(c.name, u, 1)
		}
	}
	r.print()
}

func (b *bench) sample(s *spawner, a act, c *contender, v variant, pause time.Duration) (usage, error) {
	timed, after, err := a.prep(b, s, c, v)
	if err != nil {
		return usage{}, err
	}
	defer after()
	time.Sleep(pause)
	return timed()
}

// parallel measures how long an act takes when n are done at a time: n workers do several each.
func (b *bench) parallel(a act, n, samples int) {
	name := fmt.Sprintf("%s, %d at a time", a.name, n)
	if !b.wants(name) {
		return
	}
	who := b.with(a.who)
	r := b.newResult(name, milliseconds, who)
	each := max(2, 16/n)
	failed := map[string]bool{}
	for _, turn := range batches.order(len(who), samples) {
		c := who[turn.who]
		if failed[c.name] {
			continue
		}
		u, err := b.batch(a, c, plain, n, n*each)
		if err != nil {
			b.skip(name+" of "+c.name, err)
			failed[c.name] = true
			continue
		}
		if turn.counted {
			r.addUsage(c.name, u, n*each)
		}
	}
	r.print()
}

// batch does an act `total` times, n at a time.
func (b *bench) batch(a act, c *contender, v variant, n, total int) (usage, error) {
	type job struct {
		s     *spawner
		timed []func() (usage, error)
	}
	jobs := make([]job, n)
	for i := range jobs {
		s, err := newSpawner()
		if err != nil {
			return usage{}, err
		}
		defer s.close()
		jobs[i].s = s
	}
	for i := range total {
		j := &jobs[i%n]
		timed, after, err := a.prep(b, j.s, c, v)
		if err != nil {
			return usage{}, err
		}
		defer after()
		j.timed = append(j.timed, timed)
	}
	type outcome struct {
		u   usage
		err error
	}
	done := make(chan outcome, n)
	begin := time.Now()
	for _, j := range jobs {
		go func() {
			var o outcome
			for _, timed := range j.timed {
				u, err := timed()
				o.u.add(u)
				if err != nil {
					o.err = err
					break
				}
			}
			done <- o
		}()
	}
	var sum outcome
	for range jobs {
		o := <-done
		sum.u.add(o.u)
		if o.err != nil {
			sum.err = o.err
		}
	}
	sum.u.Wall = time.Since(begin)
	return sum.u, sum.err
}
