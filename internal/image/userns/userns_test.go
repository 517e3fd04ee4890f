package userns

import (
	"strings"
	"testing"

	"gcr/internal/account"
)

func TestArgs(t *testing.T) {
	for _, c := range []struct {
		ranges []account.Range
		want   string
	}{
		{nil, "0 1000 1"},
		{[]account.Range{{Start: 100000, Count: 65536}}, "0 1000 1 1 100000 65536"},
		{[]account.Range{{Start: 200000, Count: 10}, {Start: 300000, Count: 5}}, "0 1000 1 1 200000 10 11 300000 5"},
		// One that overlaps an earlier one, or the caller, is left out.
		{[]account.Range{{Start: 990, Count: 20}, {Start: 2000, Count: 10}, {Start: 2009, Count: 2}, {Start: 5000, Count: 1}}, "0 1000 1 1 2000 10 11 5000 1"},
	} {
		if got := strings.Join(args(1000, c.ranges), " "); got != c.want {
			t.Errorf("%v: %s, want %s", c.ranges, got, c.want)
		}
	}
	many := make([]account.Range, 400)
	for i := range many {
		many[i] = account.Range{Start: uint32(10000 + 10*i), Count: 1}
	}
	if n := len(args(1000, many)); n != 3*maxLines {
		t.Errorf("%d fields, want %d", n, 3*maxLines)
	}
}
