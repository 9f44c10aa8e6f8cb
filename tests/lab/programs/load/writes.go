package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"
)

const configMaps = "/api/v1/namespaces/default/configmaps"

// writes makes objects, reads them back, deletes them, and checks that the watches see all of it.
type writes struct {
	target *target
	book   *book
	label  string // of this load's objects
	long   *watch // on the connection on which the writes go, as in one program
	short  *watch // on new connections, and ended every few seconds

	mutex    sync.Mutex
	expected map[change]time.Time // those acknowledged, and when they were begun
	seen     map[*watch]map[change]time.Time
}

// change is what a watch must see.
type change struct{ event, name string }

func newWrites(target *target, book *book) *writes {
	w := &writes{
		target: target, book: book, label: fmt.Sprintf("load-%d", os.Getpid()),
		expected: map[change]time.Time{}, seen: map[*watch]map[change]time.Time{},
	}
	w.long = w.watch(target.kept, 5*time.Minute)
	w.short = w.watch(target.fresh, 5*time.Second)
	return w
}

func (w *writes) watch(client *http.Client, lifetime time.Duration) *watch {
	seen := map[change]time.Time{}
	result := &watch{
		target: w.target, book: w.book, client: client, path: configMaps, lifetime: lifetime,
		query: url.Values{"labelSelector": {"load=" + w.label}},
		see: func(event string, object json.RawMessage, at time.Time) {
			var named versioned
			if json.Unmarshal(object, &named) != nil {
				return
			}
			w.mutex.Lock()
			defer w.mutex.Unlock()
			seen[change{event, named.Metadata.Name}] = at
		},
	}
	w.seen[result] = seen
	return result
}

func (w *writes) watches() []*watch { return []*watch{w.long, w.short} }

func (w *writes) kind() *kind { return &kind{name: "create", every: perSecond(15), make: w.write} }

// write is three requests, one after the other: make, read back, delete.
func (w *writes) write(n int) {
	name := fmt.Sprintf("%s-%d", w.label, n)
	body, _ := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "data": map[string]string{"n": name},
		"metadata": map[string]any{"name": name, "labels": map[string]string{"load": w.label}},
	})
	if !w.changes(change{"ADDED", name}, "create", http.MethodPost, configMaps, body) {
		return
	}
	began := time.Now()
	reader := w.target.kept
	if n%2 == 0 {
		reader = w.target.fresh // perhaps another server than the one that wrote it
	}
	w.book.note("read-back", began, w.readBack(reader, name))
	w.changes(change{"DELETED", name}, "delete", http.MethodDelete, configMaps+"/"+name, nil)
}

// changes makes a request that changes something; if it is acknowledged, every watch must see it.
func (w *writes) changes(change change, kind, method, path string, body []byte) bool {
	began := time.Now()
	_, err := w.target.ask(w.target.kept, method, path, body)
	w.book.note(kind, began, err)
	if err != nil {
		return false
	}
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.expected[change] = began
	return true
}

func (w *writes) readBack(client *http.Client, name string) error {
	content, err := w.target.get(client, configMaps+"/"+name)
	if err != nil {
		return err
	}
	var object struct{ Data map[string]string }
	if err := json.Unmarshal(content, &object); err != nil {
		return err
	}
	if object.Data["n"] != name {
		return errors.New("it is not what was written")
	}
	return nil
}

// settle waits until the watches have seen everything, but no longer than that.
func (w *writes) settle(within time.Duration) {
	for end := time.Now().Add(within); time.Now().Before(end) && w.summary().Missed > 0; {
		time.Sleep(20 * time.Millisecond)
	}
}

type watchSummary struct {
	Expected int      `json:"expected"` // events: those acknowledged, by each of the watches
	Seen     int      `json:"seen"`
	Missed   int      `json:"missed"`
	Examples []string `json:"missed_for_example,omitempty"`
	P50      float64  `json:"p50_ms"` // from the beginning of the write until the event
	P99      float64  `json:"p99_ms"`
	Slowest  float64  `json:"slowest_ms"`
	Ended    int64    `json:"ended"`  // watches that the server ended in good order
	Broken   int64    `json:"broken"` // that ended with an error, or could not be begun
	Listed   int64    `json:"listed"` // that could not go on from the last version
}

func (w *writes) summary() watchSummary {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	var result watchSummary
	var latencies []time.Duration
	for watch, seen := range w.seen {
		result.Ended += watch.ended.Load()
		result.Broken += watch.broken.Load()
		result.Listed += watch.listed.Load()
		for change, began := range w.expected {
			result.Expected++
			if at, ok := seen[change]; ok {
				result.Seen++
				latencies = append(latencies, at.Sub(began))
				continue
			}
			result.Missed++
			if len(result.Examples) < 10 {
				result.Examples = append(result.Examples, fmt.Sprintf("%s %s, written at %.3f", change.event, change.name, unix(began)))
			}
		}
	}
	result.P50, result.P99, result.Slowest = percentiles(latencies)
	return result
}
