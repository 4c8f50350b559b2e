package main

import (
	"encoding/binary"
	"errors"
	"strconv"
)

const (
	slots            = 1024
	defaultLatencyUs = 20_000
	failedUs         = 1_000_000
	explore          = 50 // one request in so many
)

// An average is kept by backend id; of two ids that meet in one slot the later one is
// known.
type average struct{ id, latencyUs uint32 }

var (
	known   [slots]average
	percent uint64 = 10 // part of a new answer in the average
)

// Configure takes that part, 1 to 100 percent; empty: 10.
func Configure(text string) error {
	number := uint64(10)
	if text != "" {
		var err error
		if number, err = strconv.ParseUint(text, 10, 8); err != nil || number < 1 || number > 100 {
			return errors.New("the configuration is the part of a new answer in the average: 1 to 100 (percent)")
		}
	}
	percent = number
	return nil
}

// Observe learns what each backend's answers take, failures included.
func Observe(outcomes []Outcome) {
	for i := range outcomes {
		o := &outcomes[i]
		if o.Failure == 5 {
			continue // the client left: that says nothing of the backend
		}
		took := uint64(o.LatencyUs)
		if o.Failure != 0 || o.Status >= 500 {
			took = max(took, failedUs)
		}
		a := &known[o.ID%slots]
		before := took
		if a.id == o.ID && a.latencyUs > 0 {
			before = uint64(a.latencyUs)
		}
		*a = average{o.ID, uint32((before*(100-percent) + took*percent) / 100)}
	}
}

func latencyOf(id uint32) float64 {
	if a := known[id%slots]; a.id == id {
		return float64(max(a.latencyUs, defaultLatencyUs))
	}
	return defaultLatencyUs
}

// Pick chooses the backend with the shortest expected time by what was learnt; equals
// take turns by weight, and one request in 50 explores. The list is valid during the call
// only.
func Pick(request *Request, backends []Backend) (int, *Refusal) {
	total := 0.0
	for i := range backends {
		total += float64(backends[i].Weight)
	}
	meanWeight := total / float64(len(backends))

	random, best, least := request.Random, -1, 0.0
	exploring := random%explore == 0
	tied := uint64(0) // weight of all that are as good as the best
	for i := range backends {
		b := &backends[i]
		weight := uint64(max(b.Weight, 1))
		time := 0.0
		if !exploring {
			time = latencyOf(b.ID) * (1 + float64(b.InFlight)*meanWeight/float64(weight))
		}
		if best >= 0 && time > least {
			continue
		}
		if best < 0 || time < least {
			least, tied = time, 0
		}
		tied += weight
		random = random*6364136223846793005 + 1442695040888963407 // a draw for each tie
		if (random>>33)*tied>>31 < weight {
			best = i
		}
	}
	if best < 0 {
		return Refuse(Fallback)
	}
	return Chosen(best)
}

// Save returns what a successor needs: every average that there is.
func Save() []byte {
	var saved []byte
	for _, a := range known {
		if a.latencyUs > 0 {
			saved = binary.LittleEndian.AppendUint32(saved, a.id)
			saved = binary.LittleEndian.AppendUint32(saved, a.latencyUs)
		}
	}
	return saved
}

// Restore takes what Save returned, and refuses anything else.
func Restore(saved []byte) error {
	wrong := errors.New("not what this strategy saves")
	if len(saved)%8 != 0 || len(saved) > 8*slots {
		return wrong
	}
	var read []average
	for at := 0; at < len(saved); at += 8 {
		a := average{binary.LittleEndian.Uint32(saved[at:]), binary.LittleEndian.Uint32(saved[at+4:])}
		// In the order of their slots, none twice.
		if a.latencyUs == 0 || (at > 0 && read[len(read)-1].id%slots >= a.id%slots) {
			return wrong
		}
		read = append(read, a)
	}
	for _, a := range read {
		known[a.id%slots] = a
	}
	return nil
}
