// watchers is many clients of client-go, each with an informer on a connection of its own: what a hand-over is to them.
//
//	watchers --kubeconfig FILE --log FILE [--clients N] [--ramp N] [--beat DURATION] [--settle DURATION]
//
// A ConfigMap, the beat, changes all the time, and every client watches it as a user of its own (setup.go). The retries,
// the backoff and the lists of the clients are client-go's, untouched (client.go). --log gets a line for each watch that
// began or ended, with how many clients watch then, for each attempt that failed, and for each list. With SIGTERM or
// SIGINT the beat stops, the clients have --settle to catch up, and the figures are printed as JSON (summary.go).
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// filesForItself is how many files the program has open beside the clients' connections.
const filesForItself = 100

type options struct {
	clients int           // how many
	ramp    float64       // how many of them begin a second
	beat    time.Duration // from one change of the ConfigMap to the next
	settle  time.Duration // what the clients have to catch up in the end
}

func main() {
	kubeconfig := flag.String("kubeconfig", "", "`FILE` that says where the API server is, and an administrator of it")
	log := flag.String("log", "", "`FILE` for a line a watch that begins or ends")
	var options options
	flag.IntVar(&options.clients, "clients", 1000, "how many clients watch")
	flag.Float64Var(&options.ramp, "ramp", 50, "how many clients begin a second")
	flag.DurationVar(&options.beat, "beat", 500*time.Millisecond, "how often the ConfigMap changes")
	flag.DurationVar(&options.settle, "settle", 90*time.Second, "how long clients may take to catch up in the end")
	flag.Parse()
	if err := run(*kubeconfig, *log, options); err != nil {
		fmt.Fprintln(os.Stderr, "watchers:", err)
		os.Exit(2)
	}
}

func run(kubeconfig, log string, options options) error {
	if err := enoughFiles(options.clients + filesForItself); err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	if err := setUp(stop, config); err != nil {
		return err
	}
	file, err := os.Create(log)
	if err != nil {
		return err
	}
	defer file.Close()
	summary, err := watchUntil(stop, config, newBook(file, options.clients), options)
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", " ")
	return encoder.Encode(summary)
}

// watchUntil has the clients watch until it is told to stop, and then until all have caught up.
func watchUntil(stop context.Context, config *rest.Config, book *book, options options) (*summary, error) {
	beat, err := newBeat(config, book)
	if err != nil {
		return nil, err
	}
	beating := make(chan struct{})
	go func() { defer close(beating); beat.keep(stop, options.beat) }()
	watching, endWatches := context.WithCancel(context.Background())
	defer endWatches()
	pause := time.Duration(float64(time.Second) / options.ramp)
	for number := 0; number < options.clients && stop.Err() == nil; number++ {
		client, err := newClient(config, book, number)
		if err != nil {
			return nil, err
		}
		go client.watch(watching)
		select {
		case <-stop.Done():
		case <-time.After(pause):
		}
	}
	<-stop.Done()
	<-beating
	book.settle(options.settle)
	return book.close(), nil
}

// enoughFiles says whether so many files may be open. Go has raised the limit as far as it may.
func enoughFiles(needed int) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("cannot read how many files may be open: %w", err)
	}
	if limit.Cur < uint64(needed) {
		return fmt.Errorf("%d files may be open, and %d are needed: raise the limit (ulimit -n)", limit.Cur, needed)
	}
	return nil
}
