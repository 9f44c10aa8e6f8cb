package main

import (
	"encoding/json"
	"sync"
	"time"
)

// leaders follows who holds the leases of controller manager and scheduler.
type leaders struct {
	mutex  sync.Mutex
	leases map[string]*lease
}

type lease struct {
	holder   string    // who held it last
	renewed  time.Time // when that one last did, by its own word
	released time.Time // when the holder's name was first seen gone; zero if it is there
	result   leaderSummary
}

type leaderSummary struct {
	Holder  string       `json:"holder"`
	Changes []handChange `json:"changes"`
	// The longest time between two renewals, whoever made them. A holder that is well renews every 2 s.
	Longest gap `json:"longest_between_renewals"`
}

// handChange is a change of hands.
type handChange struct {
	From      string  `json:"from"`
	To        string  `json:"to"`
	LastRenew float64 `json:"last_renew"`
	Released  float64 `json:"released,omitempty"` // when it was given back, if it was
	Acquired  float64 `json:"acquired"`
	Seconds   float64 `json:"seconds"` // from the last renewal by the old one to the first by the new one
}

func newLeaders() *leaders {
	return &leaders{leases: map[string]*lease{"kube-controller-manager": {}, "kube-scheduler": {}}}
}

func (l *leaders) watch() *watch {
	return &watch{path: "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases", see: l.see}
}

func (l *leaders) see(event string, object json.RawMessage, at time.Time) {
	var seen struct {
		versioned
		Spec struct {
			HolderIdentity         string
			AcquireTime, RenewTime time.Time
		}
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if json.Unmarshal(object, &seen) != nil {
		return
	}
	if lease := l.leases[seen.Metadata.Name]; lease != nil && event != "DELETED" {
		lease.see(seen.Spec.HolderIdentity, seen.Spec.AcquireTime, seen.Spec.RenewTime, at)
	}
}

func (l *lease) see(holder string, acquired, renewed, at time.Time) {
	if holder == "" {
		if l.released.IsZero() {
			l.released = at
		}
		return
	}
	if long := seconds(renewed.Sub(l.renewed)); !l.renewed.IsZero() && long > l.result.Longest.Seconds {
		l.result.Longest = gap{long, unix(l.renewed)}
	}
	if l.holder != "" && holder != l.holder {
		hands := handChange{
			From: l.holder, To: holder, LastRenew: unix(l.renewed), Acquired: unix(acquired),
			Seconds: seconds(acquired.Sub(l.renewed)),
		}
		if !l.released.IsZero() {
			hands.Released = unix(l.released)
		}
		l.result.Changes = append(l.result.Changes, hands)
	}
	l.holder, l.renewed, l.released = holder, renewed, time.Time{}
	l.result.Holder = holder
}

func (l *leaders) summary() map[string]leaderSummary {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	result := map[string]leaderSummary{}
	for name, lease := range l.leases {
		lease.result.Longest.Seconds = max(lease.result.Longest.Seconds, 0)
		if lease.result.Changes == nil {
			lease.result.Changes = []handChange{}
		}
		result[name] = lease.result
	}
	return result
}
