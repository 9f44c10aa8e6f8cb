package main

import (
	"cmp"
	"fmt"
	"io"
	"sync"
	"time"
)

// look is how often the book is asked, in the end, whether all clients have caught up.
const look = 100 * time.Millisecond

// page is what the book has of one client.
type page struct {
	open  int       // its watches: 0 or 1
	since time.Time // when it has had none since; zero before its first
	lists int       // the one that it began with, and those anew
	last  string    // what went wrong or ended last
	error string    // with which the server has ended a watch, until the next list
	beat  int       // the newest that it has seen; 0 before the first
}

// book has what happened to the clients.
type book struct {
	mutex  sync.Mutex
	log    io.Writer
	pages  []page
	closed bool
	start  time.Time

	watching    int            // clients that have a watch
	connections int            // made by them
	begun       int            // watches
	ends        map[string]int // of watches, by what ended them
	failures    map[string]int // of a client's requests: client-go tries again
	anew        map[string]int // lists after a client's first, by what went before
	errors      map[string]int // that client-go does not hide: they reach its user
	expired     int            // watches that could not go on from the last version
	skipped     int            // beats that a client has not seen, of all clients
	back        int            // beats that a client has seen after a newer one
	without     []time.Duration
	late        []time.Duration // from a write's acknowledgement until a client has seen it

	newest     int               // beat that is acknowledged
	acks       map[int]time.Time // when each was
	notWrites  map[string]int    // attempts at a write that failed
	catchingUp time.Duration     // how long the clients took in the end
}

func newBook(log io.Writer, clients int) *book {
	return &book{
		log: log, pages: make([]page, clients), start: time.Now(), acks: map[int]time.Time{},
		ends: map[string]int{}, failures: map[string]int{}, anew: map[string]int{}, errors: map[string]int{},
		notWrites: map[string]int{},
	}
}

// note runs a change of the book, with the client's page, unless the book is closed.
func (b *book) note(number int, change func(page *page, now time.Time)) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	if !b.closed {
		change(&b.pages[number], time.Now())
	}
}

// line is one of the log: when, what, which client, how many clients have a watch now, and more.
func (b *book) line(now time.Time, what string, number int, more string) {
	fmt.Fprintf(b.log, "%.3f %s %d %d/%d %s\n", float64(now.UnixMilli())/1000, what, number, b.watching, len(b.pages), more)
}

func (b *book) connected() {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.connections++
}

// began: a watch of the client has been answered.
func (b *book) began(number int) {
	b.note(number, func(page *page, now time.Time) {
		b.begun++
		page.open++
		if page.open > 1 {
			return
		}
		b.watching++
		var without time.Duration
		if !page.since.IsZero() {
			without = now.Sub(page.since)
			b.without = append(b.without, without)
		}
		b.line(now, "began", number, without.String())
	})
}

// ended: no more comes from a watch of the client.
func (b *book) ended(number int, why string) {
	b.note(number, func(page *page, now time.Time) {
		b.ends[why]++
		page.last = why
		page.open--
		if page.open > 0 {
			return
		}
		b.watching--
		page.since = now
		b.line(now, "ended", number, why)
	})
}

// refused: a request of the client has failed.
func (b *book) refused(number int, why string) {
	b.note(number, func(page *page, now time.Time) {
		b.failures[why]++
		page.last = why
		b.line(now, "refused", number, why)
	})
}

// broken: the server has ended a watch by an error.
func (b *book) broken(number int, why string, expired bool) {
	b.note(number, func(page *page, now time.Time) {
		page.error = why
		if expired {
			b.expired++
		}
		b.line(now, "broken", number, why)
	})
}

// listed: the client has got a list, by a request of its own or by a watch that begins with one.
func (b *book) listed(number int) {
	b.note(number, func(page *page, now time.Time) {
		page.lists++
		if page.lists == 1 {
			return
		}
		// The end of a watch may be seen before the error that is its last event.
		why := "after: " + cmp.Or(page.error, page.last)
		page.error = ""
		b.anew[why]++
		b.line(now, "listed", number, why)
	})
}

// told: client-go has told its user of an error.
func (b *book) told(number int, why string, expired bool) {
	b.note(number, func(page *page, now time.Time) {
		b.errors[why]++
		page.last = why
		if expired {
			b.expired++
		}
		b.line(now, "told", number, why)
	})
}

// saw: this beat has reached the client's handlers.
func (b *book) saw(number, beat int, at time.Time) {
	b.note(number, func(page *page, _ time.Time) {
		before := page.beat
		switch {
		case before == 0:
			page.beat = beat
			return
		case beat < before:
			b.back++
			return
		case beat == before: // a list anew
			return
		}
		page.beat = beat
		b.skipped += beat - before - 1
		var late time.Duration
		if acked, ok := b.acks[beat]; ok && at.After(acked) {
			late = at.Sub(acked)
		}
		b.late = append(b.late, late)
	})
}

// written: the server has acknowledged this beat.
func (b *book) written(beat int) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.newest, b.acks[beat] = beat, time.Now()
}

func (b *book) notWritten(err error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.notWrites[class(err)]++
}

// settle waits until each client has a watch and has seen the newest beat, at most so long.
func (b *book) settle(patience time.Duration) {
	began := time.Now()
	for time.Since(began) < patience && !b.caughtUp() {
		time.Sleep(look)
	}
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.catchingUp = time.Since(began)
}

func (b *book) caughtUp() bool {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	for _, page := range b.pages {
		if page.open == 0 || page.beat < b.newest {
			return false
		}
	}
	return true
}
