package main

import (
	"errors"
	"strconv"
)

const all = 10_000

var reserve uint64 // room that counts as none, in 1/10000

// Configure takes the reserve in percent, 0 to 90; empty: 0.
func Configure(text string) error {
	number := uint64(0)
	if text != "" {
		var err error
		if number, err = strconv.ParseUint(text, 10, 8); err != nil || number > 90 {
			return errors.New("the configuration is the room to leave, in percent: 0 to 90")
		}
	}
	reserve = number * all / 100
	return nil
}

// room is in 1/10000, by the capacity and by the load that the backend reports,
// whichever leaves less.
func room(b *Backend) uint64 {
	taken := uint64(b.Utilization)
	if b.Capacity > 0 {
		taken = max(taken, uint64(b.InFlight)*all/uint64(b.Capacity))
	}
	return all - min(taken+reserve, all)
}

var weights []uint32 // kept, so that a plan allocates nothing

// Plan is made instead of a call for each request: two weighted draws, by the weights and
// the room that each backend has left. The list is valid during the call only.
func Plan(backends []Backend) (Kind, []uint32) {
	weights = weights[:0]
	for i := range backends {
		b := &backends[i]
		// A full one is asked last, and not never.
		weights = append(weights, uint32(max(uint64(min(b.Weight, 65_535))*room(b)/100, 1)))
	}
	return TwoChoices, weights
}
