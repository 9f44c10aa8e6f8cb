package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	typedcore "k8s.io/client-go/kubernetes/typed/core/v1"
	typedrbac "k8s.io/client-go/kubernetes/typed/rbac/v1"
	"k8s.io/client-go/rest"
)

const (
	namespace = "watchers"
	beatName  = "beat"
	beatKey   = "beat"
	// patience is how long one attempt at a write may take, and how long a new right may not be known.
	patience = 5 * time.Second
	// again is how long after an attempt that failed the next one begins.
	again = 100 * time.Millisecond
)

// userOf is who the client is. Pods' users are of this form, and API Priority and Fairness has a queue for each.
func userOf(number int) string {
	return fmt.Sprintf("system:serviceaccount:%s:client-%d", namespace, number)
}

// setUp makes the namespace, the ConfigMap, and the right to watch it.
func setUp(ctx context.Context, config *rest.Config) error {
	cores, err := typedcore.NewForConfig(config)
	if err != nil {
		return err
	}
	roles, err := typedrbac.NewForConfig(config)
	if err != nil {
		return err
	}
	own := meta.ObjectMeta{Name: beatName, Namespace: namespace}
	_, err = cores.Namespaces().Create(ctx, &core.Namespace{ObjectMeta: meta.ObjectMeta{Name: namespace}}, meta.CreateOptions{})
	if err := made("namespace "+namespace, err); err != nil {
		return err
	}
	first := map[string]string{beatKey: "0"}
	_, err = cores.ConfigMaps(namespace).Create(ctx, &core.ConfigMap{ObjectMeta: own, Data: first}, meta.CreateOptions{})
	if err := made("ConfigMap "+beatName, err); err != nil {
		return err
	}
	_, err = roles.Roles(namespace).Create(ctx, &rbac.Role{ObjectMeta: own, Rules: []rbac.PolicyRule{{
		APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"get", "list", "watch"},
	}}}, meta.CreateOptions{})
	if err := made("Role "+beatName, err); err != nil {
		return err
	}
	_, err = roles.RoleBindings(namespace).Create(ctx, &rbac.RoleBinding{
		ObjectMeta: own,
		Subjects:   []rbac.Subject{{APIGroup: rbac.GroupName, Kind: rbac.GroupKind, Name: "system:serviceaccounts:" + namespace}},
		RoleRef:    rbac.RoleRef{APIGroup: rbac.GroupName, Kind: "Role", Name: beatName},
	}, meta.CreateOptions{})
	if err := made("RoleBinding "+beatName, err); err != nil {
		return err
	}
	return allowed(ctx, config)
}

// allowed waits until a client may do what it was given the right to. The server learns of the right by a watch.
func allowed(ctx context.Context, config *rest.Config) error {
	own := rest.CopyConfig(config)
	own.Impersonate.UserName = userOf(0)
	cores, err := typedcore.NewForConfig(own)
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(again) {
		_, err := cores.ConfigMaps(namespace).Get(ctx, beatName, meta.GetOptions{})
		if err == nil {
			return nil
		}
		if !errors.IsForbidden(err) || time.Now().After(deadline) {
			return fmt.Errorf("%s cannot read ConfigMap %s: %w", userOf(0), beatName, err)
		}
	}
}

// made is the error of a create, if it is one: an earlier run may have made it.
func made(what string, err error) error {
	if err == nil || errors.IsAlreadyExists(err) {
		return nil
	}
	return fmt.Errorf("cannot create %s: %w", what, err)
}

// beat changes the ConfigMap: each change is a number, one more than the one before.
type beat struct {
	maps typedcore.ConfigMapInterface
	book *book
	next int
}

// newBeat goes on from the number that an earlier run has left.
func newBeat(config *rest.Config, book *book) (*beat, error) {
	own := rest.CopyConfig(config)
	own.Timeout, own.QPS = patience, -1
	cores, err := typedcore.NewForConfig(own)
	if err != nil {
		return nil, err
	}
	maps := cores.ConfigMaps(namespace)
	before, err := maps.Get(context.Background(), beatName, meta.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("cannot read ConfigMap %s: %w", beatName, err)
	}
	last, err := strconv.Atoi(before.Data[beatKey])
	if err != nil {
		return nil, fmt.Errorf("ConfigMap %s has no number: %w", beatName, err)
	}
	return &beat{maps, book, last + 1}, nil
}

// keep changes it until it is told to stop. A number is written until it is acknowledged: to write the same once more
// changes nothing, and makes no event.
func (b *beat) keep(stop context.Context, period time.Duration) {
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	for stop.Err() == nil {
		if err := b.write(); err != nil {
			b.book.notWritten(err)
			time.Sleep(again)
			continue
		}
		b.book.written(b.next)
		b.next++
		select {
		case <-stop.Done():
		case <-ticker.C:
		}
	}
}

func (b *beat) write() error {
	change, err := json.Marshal(map[string]any{"data": map[string]string{beatKey: strconv.Itoa(b.next)}})
	if err != nil {
		return err
	}
	_, err = b.maps.Patch(context.Background(), beatName, types.MergePatchType, change, meta.PatchOptions{})
	return err
}
