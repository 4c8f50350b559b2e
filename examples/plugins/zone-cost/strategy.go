package main

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
)

// Costs of the zones, by their names, and when a zone has enough to do.
type settings struct {
	// Cost of a request in each zone, in any unit, such as the price of its traffic.
	Costs map[string]float64 `json:"costs"`
	// Cost in a zone that is not listed.
	Other float64 `json:"other"`
	// Requests in flight for each unit of weight, from which on a zone is full.
	Threshold float64 `json:"threshold"`
}

var (
	in    = settings{Threshold: 10}
	known = map[uint32]float64{} // cost by the zone's number
	of    uint32                 // the generation that those are of
)

// Configure reads the settings from JSON; nothing means that all zones cost the same.
func Configure(text string) error {
	given := settings{Threshold: 10}
	if nested(text) > 8 {
		return errors.New("nested deeper than any of the options")
	}
	if strings.TrimSpace(text) != "" {
		decoder := json.NewDecoder(strings.NewReader(text))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&given); err != nil {
			return err
		}
	}
	if given.Threshold <= 0 {
		return errors.New("threshold: must be more than 0")
	}
	in = given
	return nil
}

// nested is how deep brackets go: a decoder would follow them until its stack ends.
func nested(text string) int {
	depth, deepest := 0, 0
	for _, c := range text {
		switch c {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		deepest = max(deepest, depth)
	}
	return deepest
}

// Pick prefers the cheapest zone that is not full, and in it the least loaded backend;
// if all are full, the least loaded of all.
func Pick(request *Request, backends []Backend) (int, *Refusal) {
	if request.Generation != of {
		clear(known)
		of = request.Generation
	}
	if len(backends) == 0 {
		return Refuse(Fallback)
	}
	cheapest, found := 0.0, false
	for _, tier := range tiersOf(backends) {
		if (!found || tier.cost < cheapest) && tier.inFlight < in.Threshold*tier.weight {
			cheapest, found = tier.cost, true
		}
	}
	return Chosen(least(request, backends, func(b *Backend) bool {
		return !found || cost(b) == cheapest
	}))
}

func cost(b *Backend) float64 {
	c, ok := known[b.Zone]
	if !ok {
		if c, ok = in.Costs[zoneOf(b.ID)]; !ok {
			c = in.Other
		}
		known[b.Zone] = c
	}
	return c
}

// A tier is all zones of one cost.
type tier struct{ cost, inFlight, weight float64 }

var tiers []tier // kept, so that a pick allocates nothing

func tiersOf(backends []Backend) []tier {
	tiers = tiers[:0]
	for i := range backends {
		b := &backends[i]
		at := slices.IndexFunc(tiers, func(t tier) bool { return t.cost == cost(b) })
		if at < 0 {
			at = len(tiers)
			tiers = append(tiers, tier{cost: cost(b)})
		}
		tiers[at].inFlight += float64(b.InFlight)
		tiers[at].weight += float64(max(b.Weight, 1))
	}
	return tiers
}

// least is the one with the fewest requests for its weight; equals share by weight.
func least(request *Request, backends []Backend, takesPart func(*Backend) bool) int {
	random, best, tied := request.Random, -1, uint64(0)
	for i := range backends {
		b := &backends[i]
		if !takesPart(b) {
			continue
		}
		weight := uint64(max(b.Weight, 1))
		if best >= 0 {
			mine := uint64(b.InFlight) * uint64(max(backends[best].Weight, 1))
			its := uint64(backends[best].InFlight) * weight
			if mine > its {
				continue
			}
			if mine < its {
				tied = 0
			}
		}
		tied += weight
		random = random*6364136223846793005 + 1442695040888963407 // a draw for each tie
		if (random>>33)*tied>>31 < weight {
			best = i
		}
	}
	return max(best, 0)
}
