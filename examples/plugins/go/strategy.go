package main

// A latency below 20 ms counts as that much, as does none yet.
const defaultLatencyUs = 20_000

// Pick chooses the backend with the shortest expected time to a response; equals take
// turns by weight. The list is valid during the call only.
func Pick(request *Request, backends []Backend) (int, *Refusal) {
	total := 0.0
	for i := range backends {
		total += float64(backends[i].Weight)
	}
	meanWeight := total / float64(len(backends))

	random, best, least := request.Random, -1, 0.0
	tied := uint64(0) // weight of all that are as good as the best
	for i := range backends {
		b := &backends[i]
		weight := uint64(max(b.Weight, 1))
		time := float64(max(b.LatencyUs, defaultLatencyUs)) * (1 + float64(b.InFlight)*meanWeight/float64(weight))
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
