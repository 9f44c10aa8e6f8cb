package main

import (
	"fmt"
	"math"
	"slices"
	"syscall"
	"time"
)

// examples is how many clients are named for example.
const examples = 5

// summary is all figures of a run.
type summary struct {
	Clients     int     `json:"clients"`
	Seconds     float64 `json:"seconds"`
	CPUSeconds  float64 `json:"cpu_seconds"`
	Connections int     `json:"connections"`

	Watches  int            `json:"watches"`
	Ended    int            `json:"ended"`
	Ends     map[string]int `json:"ends"`     // by what ended the watch
	Failures map[string]int `json:"failures"` // of requests, which client-go tried again
	Without  spread         `json:"without_watch"`
	Late     spread         `json:"late"` // from the acknowledgement of a write until a client has seen it

	ListsAnew int            `json:"lists_anew"`
	Anew      map[string]int `json:"lists_anew_after"`
	Expired   int            `json:"expired"`
	Errors    map[string]int `json:"errors"` // that client-go did not hide
	Skipped   int            `json:"skipped"`
	Back      int            `json:"back"`

	Beats      int            `json:"beats"`
	NotWrites  map[string]int `json:"failed_writes"`
	CatchingUp float64        `json:"catching_up_seconds"`
	NoWatch    int            `json:"no_watch_at_the_end"`
	Behind     int            `json:"behind_at_the_end"`
	Left       []string       `json:"left_at_the_end,omitempty"`
}

// spread is what times are like.
type spread struct {
	Times   int     `json:"times"`
	Median  float64 `json:"p50_ms"`
	P99     float64 `json:"p99_ms"`
	Longest float64 `json:"longest_ms"`
}

// close ends the book: what happens to the clients from here on is the program's end.
func (b *book) close() *summary {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.closed = true
	now := time.Now()
	result := &summary{
		Clients: len(b.pages), Seconds: now.Sub(b.start).Seconds(), CPUSeconds: cpuSeconds(), Connections: b.connections,
		Watches: b.begun, Ended: sum(b.ends), Ends: b.ends, Failures: b.failures,
		ListsAnew: sum(b.anew), Anew: b.anew, Expired: b.expired, Errors: b.errors, Skipped: b.skipped, Back: b.back,
		Beats: len(b.acks), NotWrites: b.notWrites, CatchingUp: b.catchingUp.Seconds(),
	}
	for number, page := range b.pages {
		if page.open == 0 {
			result.NoWatch++
			if !page.since.IsZero() { // the time goes on
				b.without = append(b.without, now.Sub(page.since))
			}
		}
		if page.beat < b.newest {
			result.Behind++
		}
		if (page.open == 0 || page.beat < b.newest) && len(result.Left) < examples {
			result.Left = append(result.Left, fmt.Sprintf("client %d: %d watches, has seen %d of %d; last: %s", number, page.open, page.beat, b.newest, page.last))
		}
	}
	result.Without, result.Late = spreadOf(b.without), spreadOf(b.late)
	return result
}

func sum(counts map[string]int) (total int) {
	for _, count := range counts {
		total += count
	}
	return total
}

func spreadOf(times []time.Duration) spread {
	if len(times) == 0 {
		return spread{}
	}
	slices.Sort(times)
	at := func(part float64) float64 {
		return milliseconds(times[int(math.Ceil(part*float64(len(times))))-1])
	}
	return spread{len(times), at(0.5), at(0.99), at(1)}
}

func milliseconds(span time.Duration) float64 {
	return math.Round(float64(span.Microseconds())/100) / 10
}

// cpuSeconds is what this program has taken of the processors.
func cpuSeconds() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}
