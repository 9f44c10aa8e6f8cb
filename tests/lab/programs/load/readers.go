package main

import (
	"net/http"
	"time"
)

// readers are the requests that change nothing, and what is learnt from the answers about endpoints and leaders.
type readers struct {
	target  *target
	book    *book
	objects map[string]*endpoints
	leaders *leaders
}

func newReaders(target *target, book *book) *readers {
	return &readers{target, book, newEndpoints(target.address, target.discovery), newLeaders()}
}

func (r *readers) kinds() []*kind {
	get := []string{"/api/v1/namespaces/default/services/kubernetes", "/api/v1/namespaces/kube-system/serviceaccounts/default"}
	// From the store, and as informers begin: from the server's cache, which a new server has to fill first.
	list := []string{"/api/v1/namespaces/kube-system/pods", "/api/v1/namespaces/kube-system/pods?resourceVersion=0"}
	kinds := []*kind{
		r.reads("fresh", 30, r.target.fresh, "/api/v1/namespaces/kube-system/configmaps?limit=1"),
		r.reads("readyz", 10, r.target.fresh, "/readyz"),
		r.reads("get", 60, r.target.kept, get...),
		r.reads("list", 15, r.target.kept, list...),
	}
	for _, name := range []string{endpointsKind, sliceKind} {
		kinds = append(kinds, r.polls(r.objects[name]))
	}
	for i, kind := range kinds {
		kind.offset = time.Duration(i) * 3 * time.Millisecond
	}
	return kinds
}

func (r *readers) reads(name string, rate int, client *http.Client, paths ...string) *kind {
	return &kind{name: name, every: perSecond(rate), make: func(n int) {
		began := time.Now()
		_, err := r.target.get(client, paths[n%len(paths)])
		r.book.note(name, began, err)
	}}
}

func (r *readers) polls(object *endpoints) *kind {
	return &kind{name: "endpoints", every: perSecond(25), make: func(int) {
		began := time.Now()
		content, err := r.target.get(r.target.polling, object.path+"/kubernetes")
		if err == nil || refused(err, http.StatusNotFound) { // no object: no address either
			object.polled.is(err == nil && object.names(content), began, time.Now())
			err = nil
		}
		r.book.note("endpoints", began, err)
	}}
}

func (r *readers) watches() []*watch {
	leaders := r.leaders.watch()
	leaders.client, leaders.lifetime = r.target.polling, 5*time.Minute
	result := []*watch{leaders}
	for _, object := range r.objects {
		watch := object.watch()
		// On new connections, so that it is not with the server that ends: it would see an absence begin there, and its
		// end when it has got through to another server.
		watch.client, watch.lifetime = r.target.fresh, 2*time.Second
		result = append(result, watch)
	}
	for _, watch := range result {
		watch.target, watch.book, watch.sparse = r.target, r.book, true
	}
	return result
}

func (r *readers) summary() (map[string]absences, map[string]leaderSummary) {
	objects := map[string]absences{}
	for name, object := range r.objects {
		objects[name] = object.summary(r.book.ended)
	}
	return objects, r.leaders.summary()
}
