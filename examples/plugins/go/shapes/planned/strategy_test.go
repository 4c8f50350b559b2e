package main

import (
	"math"
	"testing"
)

func TestWeightsCountAndSoDoesTheRoomThatIsLeft(t *testing.T) {
	for _, c := range []struct {
		backend Backend
		want    uint32
	}{
		{Backend{Weight: 3}, 300},
		{Backend{Weight: 3, Capacity: 10, InFlight: 5}, 150},
		{Backend{Weight: 3, Utilization: 7_500}, 75},
		{Backend{Weight: 9, Capacity: 1, InFlight: math.MaxUint32}, 1},
		{Backend{Weight: math.MaxUint32}, 6_553_500},
	} {
		if _, got := Plan([]Backend{c.backend}); got[0] != c.want {
			t.Errorf("%+v: %d, not %d", c.backend, got[0], c.want)
		}
	}
}

func TestTheConfigurationIsAPercentage(t *testing.T) {
	for _, text := range []string{"91", "x", "-1", "\x00", "99999999999999999999"} {
		if Configure(text) == nil {
			t.Errorf("%q was taken", text)
		}
	}
	for _, text := range []string{"50", ""} {
		if err := Configure(text); err != nil {
			t.Error(err)
		}
	}
}
