package main

import "testing"

func picked() int {
	index, _ := Pick(&Request{Random: 1}, []Backend{{ID: 1, Weight: 1}, {ID: 2, Weight: 1}})
	return index
}

func TestWhoWasSlowOrFailedIsAvoided(t *testing.T) {
	known = [slots]average{}
	Observe([]Outcome{{ID: 1, LatencyUs: 90_000, Status: 200}})
	if got := picked(); got != 1 {
		t.Errorf("picked %d, which was slow", got)
	}
	Observe([]Outcome{{ID: 2, LatencyUs: 100, Failure: 1}})
	if got := picked(); got != 0 {
		t.Errorf("picked %d, which failed", got)
	}
}

func TestAveragesSurviveASwap(t *testing.T) {
	known = [slots]average{}
	for id := range uint32(2_000) {
		Observe([]Outcome{{ID: id, LatencyUs: 30_000 + id, Status: 200}})
	}
	before, saved := known, Save()
	known = [slots]average{}
	if err := Restore(saved); err != nil {
		t.Fatal(err)
	}
	if known != before {
		t.Error("the averages are others")
	}
}

func TestOtherBytesAreRefused(t *testing.T) {
	for _, saved := range [][]byte{{1, 2, 3}, make([]byte, 8), make([]byte, 8*slots+8), {1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0}} {
		if Restore(saved) == nil {
			t.Errorf("%v were taken", saved)
		}
	}
}

func TestTheConfigurationIsAPercentage(t *testing.T) {
	for _, text := range []string{"0", "101", "x", "\x00", "99999999999999999999"} {
		if Configure(text) == nil {
			t.Errorf("%q was taken", text)
		}
	}
	if err := Configure(""); err != nil {
		t.Error(err)
	}
}
