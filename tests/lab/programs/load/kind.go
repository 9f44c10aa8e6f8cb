package main

import (
	"context"
	"sync"
	"time"
)

// usualRate is what the kinds' own rates add up to: requests a second.
const usualRate = 210

// kind is a sort of request, made at a steady rate.
type kind struct {
	every  time.Duration
	offset time.Duration // so that the kinds do not all begin at once
	make   func(n int)   // makes the n-th and writes it down
}

// repeat begins one at each of its times until it is stopped, and waits for those that are under way;
// slower stretches the times between them.
func (k *kind) repeat(stop context.Context, slower float64) {
	every := time.Duration(slower * float64(k.every))
	var underWay sync.WaitGroup
	defer underWay.Wait()
	next := time.Now().Add(k.offset)
	for n := 0; ; n++ {
		select {
		case <-stop.Done():
			return
		case <-time.After(time.Until(next)):
		}
		next = next.Add(every)
		underWay.Add(1)
		go func() { defer underWay.Done(); k.make(n) }()
	}
}

func perSecond(times int) time.Duration { return time.Second / time.Duration(times) }
