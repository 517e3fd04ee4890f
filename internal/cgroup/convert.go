package cgroup

import "math"

// CPUWeight converts cpu.shares of cgroup v1 (2..262144, 1024 is ordinary) to cpu.weight of v2 (1..10000, 100 is
// ordinary): 10^((l²+125l)/612 - 7/34), l = log2(shares), rounded up; the curve on which the two minima,
// ordinary values and maxima meet. Current runc and crun use the same; before, a straight
// line gave 1024 shares a weight of 39.
func CPUWeight(shares uint64) uint64 {
	switch {
	case shares <= 2:
		return 1
	case shares >= 262144:
		return 10000
	}
	l := math.Log2(float64(shares))
	return uint64(math.Ceil(math.Pow(10, (l*l+125*l)/612-7.0/34)))
}

// IOWeight converts blkio.weight of cgroup v1 (10..1000) to io.weight of v2 (1..10000), linearly.
// io.bfq.weight takes the v1 value as it is (1..1000).
func IOWeight(weight uint16) uint64 { return 1 + (uint64(weight)-10)*9999/990 }
