package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// server has the one ConfigMap. Its watches end when it is told to end them; version is the beat.
type server struct {
	mutex   sync.Mutex
	beat    int
	changed chan struct{} // closed at the next change, or end of watches
	ending  int           // how often the watches were ended
	refuse  int           // so many watches are refused before the next one begins
	gone    int           // so many watches are told that their version is too old
}

func (s *server) object() string { return version(s.beat) }

func version(beat int) string {
	return fmt.Sprintf(`{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"beat","namespace":"watchers","resourceVersion":"%d"},"data":{"beat":"%d"}}`, beat, beat)
}

// change is what the test does to it, and what it does to itself.
func (s *server) change(change func()) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	change()
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *server) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	query := request.URL.Query()
	switch {
	case request.Method == http.MethodPatch:
		var change struct{ Data struct{ Beat string } }
		body, _ := io.ReadAll(request.Body)
		if err := json.Unmarshal(body, &change); err != nil {
			panic(err)
		}
		s.change(func() { s.beat, _ = strconv.Atoi(change.Data.Beat) })
		s.answer(w, s.object)
	case query.Get("watch") == "true":
		s.watch(w, request)
	case query.Has("fieldSelector"):
		s.answer(w, func() string {
			return fmt.Sprintf(`{"kind":"ConfigMapList","apiVersion":"v1","metadata":{"resourceVersion":"%d"},"items":[%s]}`, s.beat, s.object())
		})
	default:
		s.answer(w, s.object)
	}
}

func (s *server) answer(w http.ResponseWriter, text func() string) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	io.WriteString(w, text())
}

func (s *server) watch(w http.ResponseWriter, request *http.Request) {
	query := request.URL.Query()
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.refuse > 0 {
		s.refuse--
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
		return
	}
	event := func(kind, object string) {
		fmt.Fprintf(w, `{"type":"%s","object":%s}`+"\n", kind, object)
		w.(http.Flusher).Flush()
	}
	sent, _ := strconv.Atoi(query.Get("resourceVersion"))
	if query.Get("sendInitialEvents") == "true" {
		event("ADDED", s.object())
		event("BOOKMARK", fmt.Sprintf(`{"kind":"ConfigMap","apiVersion":"v1","metadata":{"resourceVersion":"%d","annotations":{"k8s.io/initial-events-end":"true"}}}`, s.beat))
		sent = s.beat
	} else if s.gone > 0 {
		s.gone--
		event("ERROR", `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired","code":410,"message":"too old resource version: 1001 (1002)"}`)
		return
	}
	w.(http.Flusher).Flush()
	for ending := s.ending; s.ending == ending; {
		for sent < s.beat {
			sent++
			event("MODIFIED", version(sent))
		}
		changed := s.changed
		s.mutex.Unlock()
		select {
		case <-changed:
		case <-request.Context().Done():
		}
		s.mutex.Lock()
		if request.Context().Err() != nil {
			return
		}
	}
}

const clients = 5

// watched runs the clients against the server while disturb has its way, and gives back the figures.
func watched(t *testing.T, disturb func(*server, *httptest.Server)) *summary {
	t.Helper()
	server := &server{beat: 1, changed: make(chan struct{})}
	https := httptest.NewUnstartedServer(server)
	https.EnableHTTP2 = true
	https.StartTLS()
	defer https.Close()
	book := newBook(io.Discard, clients)
	config := &rest.Config{Host: https.URL, TLSClientConfig: rest.TLSClientConfig{Insecure: true}}
	stop, end := context.WithCancel(context.Background())
	defer end()
	go func() {
		defer end()
		for !book.caughtUp() {
			time.Sleep(look)
		}
		// A watch that ends within a second and without an event is one that client-go begins anew from a list.
		time.Sleep(1500 * time.Millisecond)
		disturb(server, https)
		// What client-go tries again it does after less than 2 s.
		time.Sleep(2 * time.Second)
	}()
	result, err := watchUntil(stop, config, book, options{clients, 100, 20 * time.Millisecond, 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if result.NoWatch+result.Behind+result.Back+len(result.Errors) > 0 {
		t.Errorf("left in the end, or an error: %+v", result)
	}
	return result
}

func TestWatchesThatEndAreBegunAgainWithoutAList(t *testing.T) {
	result := watched(t, func(server *server, _ *httptest.Server) { server.change(func() { server.ending++ }) })
	if result.Connections != clients || result.Watches != 2*clients || result.Ends["in good order"] != clients || result.Without.Times != clients {
		t.Errorf("%+v", result)
	}
	if result.ListsAnew+result.Skipped+len(result.Failures) > 0 || result.Late.Times == 0 {
		t.Errorf("%+v", result)
	}
}

func TestAConnectionThatBreaksAndAWatchThatIsRefusedAreNoErrors(t *testing.T) {
	result := watched(t, func(server *server, https *httptest.Server) {
		server.change(func() { server.refuse = 1 })
		https.CloseClientConnections()
	})
	if result.Connections != 2*clients || result.Watches != 2*clients || result.Failures["http 429"] != 1 || result.Without.Longest < 1000 {
		t.Errorf("%+v", result)
	}
	if result.ListsAnew+result.Skipped > 0 {
		t.Errorf("%+v", result)
	}
}

func TestAVersionThatIsTooOldIsSeen(t *testing.T) {
	result := watched(t, func(server *server, _ *httptest.Server) {
		server.change(func() { server.ending++; server.gone = 1 })
	})
	if result.Expired != 1 || result.Anew["after: told: too old resource version: ()"] != 1 || result.ListsAnew != 1 {
		t.Errorf("%+v", result)
	}
}

func TestABeatThatAClientDoesNotSeeIsCounted(t *testing.T) {
	book, now := newBook(io.Discard, 2), time.Now()
	for _, beat := range []int{7, 8, 8, 11, 10} {
		book.saw(1, beat, now)
	}
	if result := book.close(); result.Skipped != 2 || result.Back != 1 || result.Late.Times != 2 || result.NoWatch != 2 {
		t.Errorf("%+v", result)
	}
}
