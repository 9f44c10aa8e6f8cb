package main

import (
	"bufio"
	"fmt"
	"os"
	"sync"
	"time"
)

// book is where every request is written down as it ends.
type book struct {
	mutex    sync.Mutex
	file     *os.File
	log      *bufio.Writer
	began    time.Time
	ended    time.Time
	requests []request
}

type request struct {
	kind  string
	began time.Time
	took  time.Duration
	err   string // its class; "" if it was answered as it should be
}

func newBook(path string) (*book, error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	return &book{file: file, log: bufio.NewWriter(file)}, nil
}

// start begins the time that is reported on.
func (b *book) start() {
	b.began = time.Now()
	go func() { // so that a reader of the log is not far behind
		for range time.Tick(100 * time.Millisecond) {
			b.mutex.Lock()
			b.log.Flush()
			b.mutex.Unlock()
		}
	}()
}

func (b *book) stop() { b.ended = time.Now() }

func (b *book) close() error {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.log.Flush()
}

// note writes a request down that began then and ends now.
func (b *book) note(kind string, began time.Time, err error) {
	entry := request{kind: kind, began: began, took: time.Since(began)}
	outcome := "ok"
	if err != nil {
		entry.err = class(err)
		outcome = entry.err
	}
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.requests = append(b.requests, entry)
	fmt.Fprintf(b.log, "%.3f %s %.1f %s\n", unix(began), kind, milliseconds(entry.took), outcome)
}

func unix(t time.Time) float64                   { return float64(t.UnixMilli()) / 1000 }
func milliseconds(d time.Duration) float64       { return round(float64(d)/1e6, 10) }
func seconds(d time.Duration) float64            { return round(d.Seconds(), 1000) }
func round(value float64, parts float64) float64 { return float64(int64(value*parts+0.5)) / parts }
