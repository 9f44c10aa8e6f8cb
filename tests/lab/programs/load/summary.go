package main

import (
	"math"
	"slices"
	"syscall"
	"time"
)

// summary is what is printed at the end. Times are Unix seconds.
type summary struct {
	Seconds    float64                  `json:"seconds"`
	Requests   int                      `json:"requests"`
	Failed     int                      `json:"failed"`
	Rate       float64                  `json:"rate"`        // requests a second
	CPU        float64                  `json:"cpu_seconds"` // that the load itself took
	P50        float64                  `json:"p50_ms"`
	P99        float64                  `json:"p99_ms"`
	Slowest    slowest                  `json:"slowest"` // of those that were answered as they should be
	LongestGap gap                      `json:"longest_gap"`
	Kinds      map[string]kindSummary   `json:"kinds"`
	Watch      watchSummary             `json:"watch"`
	Endpoints  map[string]absences      `json:"endpoints"`
	Leaders    map[string]leaderSummary `json:"leaders"`
}

type slowest struct {
	Kind string  `json:"kind"`
	Time float64 `json:"time"`
	Ms   float64 `json:"ms"`
}

// gap is the longest time in which no request was answered as it should be.
type gap struct {
	Seconds float64 `json:"seconds"`
	From    float64 `json:"from"`
}

type kindSummary struct {
	Requests   int       `json:"requests"`
	Failed     int       `json:"failed"`
	P50        float64   `json:"p50_ms"`
	P99        float64   `json:"p99_ms"`
	SlowestMs  float64   `json:"slowest_ms"`
	LongestGap gap       `json:"longest_gap"`
	Failures   *failures `json:"failures,omitempty"`
}

type failures struct {
	First  float64        `json:"first"`
	Last   float64        `json:"last"`
	MostMs float64        `json:"most_ms"` // until one was known to have failed
	Errors map[string]int `json:"errors"`
}

func (b *book) summary() summary {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	byKind := map[string][]request{}
	for _, request := range b.requests {
		byKind[request.kind] = append(byKind[request.kind], request)
	}
	all := b.sum(b.requests)
	took := b.ended.Sub(b.began)
	result := summary{
		Seconds: seconds(took), Requests: all.Requests, Failed: all.Failed,
		Rate: round(float64(all.Requests)/took.Seconds(), 10), CPU: cpu(), P50: all.P50, P99: all.P99,
		LongestGap: all.LongestGap, Kinds: map[string]kindSummary{},
	}
	for kind, requests := range byKind {
		result.Kinds[kind] = b.sum(requests)
	}
	for _, request := range b.requests {
		if ms := milliseconds(request.took); request.err == "" && ms > result.Slowest.Ms {
			result.Slowest = slowest{request.kind, unix(request.began), ms}
		}
	}
	return result
}

// cpu is what this process has used, in seconds.
func cpu() float64 {
	var used syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &used) != nil {
		return 0
	}
	return seconds(time.Duration(used.Utime.Nano() + used.Stime.Nano()))
}

func (b *book) sum(requests []request) kindSummary {
	result := kindSummary{Requests: len(requests)}
	var took []time.Duration
	var answered []time.Time
	for _, request := range requests {
		if request.err != "" {
			result.Failed++
			result.Failures = result.Failures.with(request)
			continue
		}
		took = append(took, request.took)
		answered = append(answered, request.began.Add(request.took))
	}
	result.P50, result.P99, result.SlowestMs = percentiles(took)
	result.LongestGap = longestGap(b.began, b.ended, answered)
	return result
}

func (f *failures) with(request request) *failures {
	began := unix(request.began)
	if f == nil {
		f = &failures{First: began, Last: began, Errors: map[string]int{}}
	}
	f.First, f.Last = math.Min(f.First, began), math.Max(f.Last, began)
	f.MostMs = max(f.MostMs, milliseconds(request.took))
	f.Errors[request.err]++
	return f
}

// percentiles are the median, the 99th percentile and the largest, in milliseconds.
func percentiles(took []time.Duration) (p50, p99, most float64) {
	if len(took) == 0 {
		return 0, 0, 0
	}
	slices.Sort(took)
	at := func(part float64) float64 { return milliseconds(took[int(part*float64(len(took)-1))]) }
	return at(0.5), at(0.99), at(1)
}

// longestGap is the longest time between two answers; the beginning and the end count as answers.
func longestGap(began, ended time.Time, answered []time.Time) gap {
	slices.SortFunc(answered, time.Time.Compare)
	var longest gap
	last := began
	for _, next := range append(answered, ended) {
		if long := seconds(next.Sub(last)); long > longest.Seconds {
			longest = gap{long, unix(last)}
		}
		last = next
	}
	return longest
}
