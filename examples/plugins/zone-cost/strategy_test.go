package main

import (
	"strings"
	"testing"
)

const text = `{"costs": {"near": 0, "far": 2}, "other": 5, "threshold": 4}`

func prepare(t *testing.T) {
	t.Helper()
	zones = map[uint32]string{1: "near", 2: "far", 3: "elsewhere"}
	clear(known)
	if err := Configure(text); err != nil {
		t.Fatal(err)
	}
}

func picked(inFlight ...uint32) int {
	backends := make([]Backend, len(inFlight))
	for i, n := range inFlight {
		backends[i] = Backend{ID: uint32(i + 1), Zone: uint32(i + 1), Weight: 1, InFlight: n}
	}
	index, _ := Pick(&Request{}, backends)
	return index
}

func TestTheCheapestZoneThatIsNotFullIsPreferred(t *testing.T) {
	prepare(t)
	for _, c := range []struct {
		inFlight []uint32
		want     int
	}{
		{[]uint32{3, 0, 0}, 0}, {[]uint32{4, 0, 0}, 1}, {[]uint32{4, 4, 3}, 2}, {[]uint32{6, 5, 7}, 1},
	} {
		if got := picked(c.inFlight...); got != c.want {
			t.Errorf("%v: picked %d, not %d", c.inFlight, got, c.want)
		}
	}
}

func TestInAZoneEqualsShareByWeight(t *testing.T) {
	prepare(t)
	backends := []Backend{{ID: 1, Zone: 1, Weight: 3}, {ID: 1, Zone: 1, Weight: 1}}
	first := 0
	for i := range uint64(4_000) {
		if index, _ := Pick(&Request{Random: i * 0x9e3779b97f4a7c15 >> 11}, backends); index == 0 {
			first++
		}
	}
	if first < 2_900 || first > 3_100 {
		t.Errorf("the first had %d of 4000", first)
	}
}

func TestMistakesAreRefused(t *testing.T) {
	for _, text := range []string{"nonsense", "{", `{"cost": {}}`, `{"threshold": 0}`, "\x00", strings.Repeat("[", 10_000)} {
		if Configure(text) == nil {
			t.Errorf("%q was taken", text)
		}
	}
	if err := Configure(""); err != nil {
		t.Error(err)
	}
}
