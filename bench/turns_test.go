package main

import "testing"

func TestTurns(t *testing.T) {
	for _, tt := range []struct {
		turns   turns
		samples int
		counted int // of each contender
		all     int // with those that are not counted
	}{
		{warm, 40, 40, 50},
		{warm, 25, 28, 35},
		{warm, 1, 4, 5},
		{idle, 15, 15, 16},
		{mixed, 40, 40, 42},
		{batches, 5, 5, 5},
	} {
		const contenders = 3
		all, counted := make([]int, contenders), make([]int, contenders)
		first := map[int]int{} // of each round, by contender
		order := tt.turns.order(contenders, tt.samples)
		for i, turn := range order {
			all[turn.who]++
			if turn.counted {
				counted[turn.who]++
			}
			inBlock := i % (tt.turns.lead + max(1, tt.turns.block))
			if turn.counted && inBlock < tt.turns.lead {
				t.Errorf("%+v: sample %d is counted, though it leads its block", tt.turns, i)
			}
			if inBlock > 0 && turn.who != order[i-1].who {
				t.Errorf("%+v: sample %d is of another contender than the rest of its block", tt.turns, i)
			}
			if i%(contenders*(tt.turns.lead+max(1, tt.turns.block))) == 0 {
				first[turn.who]++
			}
		}
		for c := range contenders {
			if counted[c] != tt.counted || all[c] != tt.all {
				t.Errorf("%+v, %d samples: contender %d has %d, %d of them counted; want %d and %d", tt.turns, tt.samples, c, all[c], counted[c], tt.all, tt.counted)
			}
		}
		if rounds := len(order) / (contenders * (tt.turns.lead + max(1, tt.turns.block))); rounds >= contenders && len(first) != contenders {
			t.Errorf("%+v: rounds begin with %v", tt.turns, first)
		}
	}
}
