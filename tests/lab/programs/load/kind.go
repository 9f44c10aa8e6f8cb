package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// usualRate is what the kinds' own rates add up to: requests a second.
const usualRate = 210

// mostUnderWay is how many requests may wait for their answers. A server that is behind would otherwise, with a listening
// queue full of clients that have given up, never catch up again, and the load would be what keeps it down.
const mostUnderWay = 500

var (
	underWay   atomic.Int64
	errTooMany = fmt.Errorf("not begun: %d requests wait for their answers", mostUnderWay)
)

// kind is a sort of request, made at a steady rate.
type kind struct {
	name   string
	every  time.Duration
	offset time.Duration // so that the kinds do not all begin at once
	make   func(n int)   // makes the n-th and writes it down
}

// repeat begins one at each of its times, or writes down why not, until it is stopped, and waits for those that are
// under way; slower stretches the times between them.
func (k *kind) repeat(stop context.Context, book *book, slower float64) {
	every := time.Duration(slower * float64(k.every))
	var begun sync.WaitGroup
	defer begun.Wait()
	next := time.Now().Add(k.offset)
	for n := 0; ; n++ {
		select {
		case <-stop.Done():
			return
		case <-time.After(time.Until(next)):
		}
		next = next.Add(every)
		if underWay.Load() >= mostUnderWay {
			book.note(k.name, time.Now(), errTooMany)
			continue
		}
		begun.Add(1)
		underWay.Add(1)
		go func() { defer begun.Done(); defer underWay.Add(-1); k.make(n) }()
	}
}

func perSecond(times int) time.Duration { return time.Second / time.Duration(times) }
