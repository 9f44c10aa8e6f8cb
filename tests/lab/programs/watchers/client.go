package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	typedcore "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// client is an informer on the beat. It is looked at in three places, and changed in none: at its HTTP requests, which
// show when a watch begins and ends; at what its reflector is told; and at what reaches its handlers.
type client struct {
	number   int
	book     *book
	informer cache.SharedIndexInformer
}

func newClient(config *rest.Config, book *book, number int) (*client, error) {
	client := &client{number: number, book: book}
	own := rest.CopyConfig(config)
	own.Impersonate.UserName = userOf(number)
	own.ContentType = "application/vnd.kubernetes.protobuf"
	own.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	// A dialer of its own makes client-go share no connection.
	dialer := &net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}
	own.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		connection, err := dialer.DialContext(ctx, network, address)
		if err == nil {
			book.connected()
		}
		return connection, err
	}
	own.Wrap(func(inner http.RoundTripper) http.RoundTripper { return &requests{client, inner} })
	cores, err := typedcore.NewForConfig(own)
	if err != nil {
		return nil, err
	}
	inner := cache.NewListWatchFromClient(cores.RESTClient(), "configmaps", namespace, fields.OneTermEqualSelector("metadata.name", beatName))
	client.informer = cache.NewSharedIndexInformer(&cache.ListWatch{
		ListWithContextFunc: inner.ListWithContext,
		WatchFuncWithContext: func(ctx context.Context, options meta.ListOptions) (watch.Interface, error) {
			events, err := inner.WatchWithContext(ctx, options)
			if err != nil {
				return nil, err
			}
			return watch.Filter(events, client.look), nil
		},
	}, &core.ConfigMap{}, 0, cache.Indexers{})
	return client, client.listen()
}

// listen has the informer say what it has seen, and which errors it does not keep to itself.
func (c *client) listen() error {
	err := c.informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) {
		c.book.told(c.number, class(err), isExpired(err))
	})
	if err != nil {
		return err
	}
	_, err = c.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    c.see,
		UpdateFunc: func(_, object any) { c.see(object) },
		DeleteFunc: func(any) { c.book.told(c.number, "the ConfigMap was deleted", false) },
	})
	return err
}

func (c *client) watch(ctx context.Context) { c.informer.RunWithContext(ctx) }

// see is called with every version that reaches a handler, in their order.
func (c *client) see(object any) {
	now := time.Now()
	if config, ok := object.(*core.ConfigMap); ok {
		if beat, err := strconv.Atoi(config.Data[beatKey]); err == nil {
			c.book.saw(c.number, beat, now)
			return
		}
	}
	c.book.told(c.number, "an object that is not the beat", false)
}

// look is called with every event of a watch.
func (c *client) look(event watch.Event) (watch.Event, bool) {
	if event.Type == watch.Error {
		err := apierrors.FromObject(event.Object)
		c.book.broken(c.number, "told: "+class(err), isExpired(err))
	}
	return event, true
}

func isExpired(err error) bool { return apierrors.IsResourceExpired(err) || apierrors.IsGone(err) }

// requests sees the client's HTTP requests, those too that the layer above tries again by itself.
type requests struct {
	client *client
	inner  http.RoundTripper
}

func (r *requests) RoundTrip(request *http.Request) (*http.Response, error) {
	client, query := r.client, request.URL.Query()
	answer, err := r.inner.RoundTrip(request)
	if err != nil {
		client.book.refused(client.number, class(err))
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		client.book.refused(client.number, fmt.Sprintf("http %d", answer.StatusCode))
		return answer, nil
	}
	watches, _ := strconv.ParseBool(query.Get("watch"))
	lists, _ := strconv.ParseBool(query.Get("sendInitialEvents"))
	if lists || !watches {
		client.book.listed(client.number)
	}
	if watches {
		client.book.began(client.number)
		answer.Body = &stream{ReadCloser: answer.Body, client: client}
	}
	return answer, nil
}

// stream is the body of a watch's answer: the watch lasts until it has an end.
type stream struct {
	io.ReadCloser
	client *client
	end    sync.Once
}

func (s *stream) Read(buffer []byte) (int, error) {
	count, err := s.ReadCloser.Read(buffer)
	if errors.Is(err, io.EOF) {
		s.ended("in good order")
	} else if err != nil {
		s.ended(class(err))
	}
	return count, err
}

func (s *stream) Close() error {
	s.ended("by the client")
	return s.ReadCloser.Close()
}

func (s *stream) ended(why string) {
	s.end.Do(func() { s.client.book.ended(s.client.number, why) })
}

var changing = regexp.MustCompile(`(Get|Patch) "[^"]*": |(\d+\.\d+\.\d+\.\d+|\[[0-9a-f:]+\]):\d+(->)?|client-\d+|\d{3,}`)

// class is an error without what differs from one client to the next: addresses, URLs, users, versions.
func class(err error) string {
	text := strings.Join(strings.Fields(changing.ReplaceAllString(err.Error(), "")), " ")
	if len(text) > 240 {
		return text[:240]
	}
	return text
}
