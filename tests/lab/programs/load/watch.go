package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"
)

// watch follows a resource as an informer's reflector does: a list, a watch from its version on, and when the watch ends
// another one from the last version seen. That it ends is no failure; that it cannot go on from there is.
type watch struct {
	target   *target
	book     *book
	client   *http.Client
	path     string
	query    url.Values    // selectors
	lifetime time.Duration // after which the server is asked to end it
	sparse   bool          // events are so rare that a new server cannot know the last version: listing anew is no failure
	see      func(kind string, object json.RawMessage, at time.Time)

	version string
	ended   atomic.Int64 // by the server, in good order
	broken  atomic.Int64 // by an error
	listed  atomic.Int64 // anew, because the last version was too old
}

type event struct {
	Type   string          `json:"type"`
	Object json.RawMessage `json:"object"`
}

type versioned struct {
	Metadata struct {
		Name            string `json:"name"`
		ResourceVersion string `json:"resourceVersion"`
	} `json:"metadata"`
}

// begin lists what is there, so that everything that changes after it must be seen.
func (w *watch) begin(ctx context.Context) error {
	content, err := w.target.get(w.client, w.path+"?"+w.query.Encode())
	if err != nil {
		return fmt.Errorf("cannot list %s: %w", w.path, err)
	}
	var list struct {
		versioned
		Items []json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(content, &list); err != nil {
		return fmt.Errorf("cannot read the list of %s: %w", w.path, err)
	}
	now := time.Now()
	for _, item := range list.Items {
		w.see("LISTED", item, now)
	}
	w.version = list.Metadata.ResourceVersion
	return nil
}

// follow watches until it is told to end.
func (w *watch) follow(ctx context.Context) {
	for ctx.Err() == nil {
		err := w.once(ctx)
		if ctx.Err() != nil {
			return
		}
		switch {
		case errors.Is(err, io.EOF):
			w.ended.Add(1)
			continue
		case refused(err, http.StatusGone):
			w.listed.Add(1)
			if err := w.begin(ctx); err == nil {
				continue
			}
		default:
			w.broken.Add(1)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// once is one watch, from its beginning to its end; what ended it.
func (w *watch) once(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	body, err := w.open(ctx, cancel)
	if err != nil {
		return err
	}
	defer body.Close()
	for events := json.NewDecoder(body); ; {
		var event event
		if err := events.Decode(&event); err != nil {
			return err
		}
		now := time.Now()
		if event.Type == "ERROR" {
			return w.told(event.Object, now)
		}
		var object versioned
		if err := json.Unmarshal(event.Object, &object); err != nil {
			return err
		}
		w.version = object.Metadata.ResourceVersion
		if event.Type != "BOOKMARK" {
			w.see(event.Type, event.Object, now)
		}
	}
}

// open begins a watch, which is a request like any other until it is answered.
func (w *watch) open(ctx context.Context, cancel context.CancelFunc) (io.ReadCloser, error) {
	query := url.Values{
		"watch": {"1"}, "allowWatchBookmarks": {"true"}, "resourceVersion": {w.version},
		"timeoutSeconds": {strconv.Itoa(int(w.lifetime.Seconds()))},
	}
	for key, values := range w.query {
		query[key] = values
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.target.base+w.path+"?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	late := time.AfterFunc(patience, cancel)
	answer, err := w.client.Do(request)
	if !late.Stop() {
		err = fmt.Errorf("no answer within %v", patience)
	}
	if err == nil && answer.StatusCode != http.StatusOK {
		content, _ := io.ReadAll(answer.Body)
		answer.Body.Close()
		err = &refusal{answer.StatusCode, message(content)}
	}
	switch {
	case w.sparse && refused(err, http.StatusGone):
		w.book.note("watch", began, nil)
	case err == nil || ctx.Err() == nil || time.Since(began) >= patience: // not: told to end
		w.book.note("watch", began, err)
	}
	if err != nil {
		return nil, err
	}
	return answer.Body, nil
}

// told is the error with which the server ended the watch.
func (w *watch) told(object json.RawMessage, now time.Time) error {
	var status struct {
		Code    int
		Message string
	}
	if err := json.Unmarshal(object, &status); err != nil {
		return err
	}
	err := &refusal{status.Code, status.Message}
	if !w.sparse || status.Code != http.StatusGone {
		w.book.note("watch", now, err)
	}
	return err
}
