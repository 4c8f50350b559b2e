package main

import (
	"math"
	"testing"
)

func picked(t *testing.T, request Request, backends ...Backend) int {
	t.Helper()
	index, refusal := Pick(&request, backends)
	if refusal != nil {
		t.Fatalf("refused: %v", *refusal)
	}
	return index
}

func TestTheQuickestIsPicked(t *testing.T) {
	if got := picked(t, Request{}, Backend{Weight: 1, LatencyUs: 90_000}, Backend{Weight: 1, LatencyUs: 30_000}); got != 1 {
		t.Errorf("picked %d", got)
	}
}

func TestWhoIsBusyTakesLonger(t *testing.T) {
	if got := picked(t, Request{}, Backend{Weight: 1, InFlight: 3}, Backend{Weight: 1}); got != 1 {
		t.Errorf("picked %d", got)
	}
}

func TestEqualsTakeTurnsByWeight(t *testing.T) {
	first := 0
	for i := range uint64(4_000) {
		if picked(t, Request{Random: i * 0x9e3779b97f4a7c15 >> 11}, Backend{Weight: 3}, Backend{Weight: 1}) == 0 {
			first++
		}
	}
	if first < 2_900 || first > 3_100 {
		t.Errorf("the first had %d of 4000", first)
	}
}

func TestNoNumberIsTooLarge(t *testing.T) {
	most := uint32(math.MaxUint32)
	huge := Backend{Weight: most, InFlight: most, LatencyUs: most}
	if got := picked(t, Request{Random: math.MaxUint64}, huge, Backend{}, huge); got != 1 {
		t.Errorf("picked %d", got)
	}
}
