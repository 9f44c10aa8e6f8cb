// load asks an API server all the time and counts what goes wrong: the lab's measure of what a client notices.
//
//	load --kubeconfig FILE --log FILE [--rate N] [--seconds N] [--server URL] [--endpoint ADDRESS]
//
// Requests begin at their time, whatever became of those before them, and none is tried again: a request that the
// transport of client-go sends anew on another connection, because the server said that it had not begun on it, is the
// only one that is sent twice. --log gets a line a request: the time it began (Unix), its kind, how many milliseconds it
// took, and ok or what went wrong. It ends after N seconds or with SIGTERM or SIGINT: what is under way is waited
// for, and the figures are printed as JSON (summary.go).
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// patience is how long a request may take; one that takes longer has failed.
const patience = 10 * time.Second

// catchUp is how long watches may lag behind the last write when the load ends.
const catchUp = 5 * time.Second

func main() {
	kubeconfig := flag.String("kubeconfig", "", "`FILE` that says where the API server is and who asks")
	server := flag.String("server", "", "`URL` of the API server, instead of the one that FILE names")
	endpoint := flag.String("endpoint", "", "`ADDRESS` that `kubernetes` must name at all times, instead of the server's own")
	log := flag.String("log", "", "`FILE` for a line a request")
	rate := flag.Float64("rate", usualRate, "about how many requests a second, of all kinds together")
	seconds := flag.Float64("seconds", 0, "end after so many; 0: only with a signal")
	flag.Parse()
	if err := run(where{*kubeconfig, *server, *endpoint}, *log, *rate, *seconds); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(2)
	}
}

func run(where where, log string, rate, seconds float64) error {
	target, err := newTarget(where)
	if err != nil {
		return err
	}
	book, err := newBook(log)
	if err != nil {
		return err
	}
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	if seconds > 0 {
		stop, cancel = context.WithTimeout(stop, time.Duration(seconds*float64(time.Second)))
		defer cancel()
	}
	watching, endWatches := context.WithCancel(context.Background())
	defer endWatches()
	writes := newWrites(target, book)
	readers := newReaders(target, book)
	var watches sync.WaitGroup
	for _, watch := range append(writes.watches(), readers.watches()...) {
		if err := watch.begin(watching); err != nil {
			return err
		}
		watches.Add(1)
		go func() { defer watches.Done(); watch.follow(watching) }()
	}
	book.start()
	var requests sync.WaitGroup
	for _, kind := range append(readers.kinds(), writes.kind()) {
		requests.Add(1)
		go func() { defer requests.Done(); kind.repeat(stop, book, usualRate/rate) }()
	}
	requests.Wait() // each ends within its patience
	book.stop()
	writes.settle(catchUp)
	endWatches()
	watches.Wait()
	if err := book.close(); err != nil {
		return err
	}
	summary := book.summary()
	summary.Watch = writes.summary()
	summary.Endpoints, summary.Leaders = readers.summary()
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", " ")
	return encoder.Encode(summary)
}
