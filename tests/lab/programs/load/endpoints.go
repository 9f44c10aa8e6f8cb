package main

import (
	"encoding/json"
	"net/url"
	"slices"
	"sync"
	"time"
)

const (
	endpointsKind = "endpoints"
	sliceKind     = "endpointslice"
)

// endpoints is one of the two objects by which clients in the cluster find the API server. For how long it was without
// the node's address is seen in two ways: by asking often, and by a watch, which sees times too short for the first.
type endpoints struct {
	path    string
	names   func(object []byte) bool // whether it names the address
	polled  *absence
	watched *absence
}

// newEndpoints takes the group of EndpointSlice: before 1.21 there is only its beta.
func newEndpoints(address, discovery string) map[string]*endpoints {
	return map[string]*endpoints{
		endpointsKind: {"/api/v1/namespaces/default/endpoints", inEndpoints(address), &absence{}, &absence{}},
		sliceKind:     {"/apis/" + discovery + "/namespaces/default/endpointslices", inSlice(address), &absence{}, &absence{}},
	}
}

func inEndpoints(address string) func([]byte) bool {
	return func(content []byte) bool {
		var object struct {
			Subsets []struct{ Addresses []struct{ IP string } }
		}
		if json.Unmarshal(content, &object) != nil {
			return false
		}
		for _, subset := range object.Subsets {
			for _, each := range subset.Addresses {
				if each.IP == address {
					return true
				}
			}
		}
		return false
	}
}

func inSlice(address string) func([]byte) bool {
	return func(content []byte) bool {
		var object struct {
			Endpoints []struct {
				Addresses  []string
				Conditions struct{ Ready *bool }
			}
		}
		if json.Unmarshal(content, &object) != nil {
			return false
		}
		for _, each := range object.Endpoints {
			if ready := each.Conditions.Ready; (ready == nil || *ready) && slices.Contains(each.Addresses, address) {
				return true
			}
		}
		return false
	}
}

func (e *endpoints) watch() *watch {
	return &watch{
		path: e.path, query: url.Values{"fieldSelector": {"metadata.name=kubernetes"}},
		see: func(event string, object json.RawMessage, at time.Time) {
			e.watched.is(event != "DELETED" && e.names(object), at, at)
		},
	}
}

type absences struct {
	Polled  absenceSummary `json:"polled"`
	Watched absenceSummary `json:"watched"`
}

type absenceSummary struct {
	Times   int     `json:"times"`
	Total   float64 `json:"total_ms"`
	Longest float64 `json:"longest_ms"`
	Last    float64 `json:"last,omitempty"` // when the last one began
}

func (e *endpoints) summary(ended time.Time) absences {
	return absences{e.polled.summary(ended), e.watched.summary(ended)}
}

// absence adds up the times in which something was not there.
type absence struct {
	mutex  sync.Mutex
	asked  time.Time // when the question was asked whose answer came last
	since  time.Time // zero while it is there
	result absenceSummary
}

// is takes an answer; an older one than the last, which came late, says nothing.
func (a *absence) is(there bool, asked, answered time.Time) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if asked.Before(a.asked) {
		return
	}
	a.asked = asked
	switch {
	case there && !a.since.IsZero():
		a.over(answered)
		a.since = time.Time{}
	case !there && a.since.IsZero():
		a.since = answered
	}
}

func (a *absence) over(now time.Time) {
	ms := milliseconds(now.Sub(a.since))
	a.result.Times++
	a.result.Total = round(a.result.Total+ms, 10)
	a.result.Longest = max(a.result.Longest, ms)
	a.result.Last = unix(a.since)
}

func (a *absence) summary(ended time.Time) absenceSummary {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if !a.since.IsZero() {
		a.over(ended)
		a.since = time.Time{}
	}
	return a.result
}
