package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// target is the API server, and the ways in which it is asked.
type target struct {
	base      string       // https://HOST:PORT
	address   string       // HOST: what the `kubernetes` Endpoints must name
	discovery string       // the group and version of EndpointSlice that the server has
	fresh     *http.Client // a new TLS connection for each request
	kept      *http.Client // one HTTP/2 connection, as client-go keeps it for a program
	polling   *http.Client // the same for another program, which reads endpoints and leases
}

// where is what the command line says of the server.
type where struct {
	kubeconfig string
	server     string // instead of the one that kubeconfig names, if it is not empty
	endpoint   string // instead of the server's address, if it is not empty
}

func newTarget(where where) (*target, error) {
	config, err := clientcmd.BuildConfigFromFlags(where.server, where.kubeconfig)
	if err != nil {
		return nil, err
	}
	server, err := url.Parse(config.Host)
	if err != nil {
		return nil, err
	}
	tls, err := rest.TLSConfigFor(config)
	if err != nil {
		return nil, err
	}
	// No retries: Go's HTTP/1 transport sends a request anew only on a connection that was kept, and none is.
	fresh := &http.Client{Transport: &http.Transport{
		TLSClientConfig: tls, DisableKeepAlives: true, DialContext: (&net.Dialer{Timeout: patience}).DialContext,
	}}
	kept, err := clientGo(config)
	if err != nil {
		return nil, err
	}
	polling, err := clientGo(config)
	if err != nil {
		return nil, err
	}
	address := where.endpoint
	if address == "" {
		address = server.Hostname()
	}
	result := &target{config.Host, address, "discovery.k8s.io/v1", fresh, kept, polling}
	_, err = result.get(fresh, "/apis/"+result.discovery)
	if refused(err, http.StatusNotFound) {
		result.discovery, err = "discovery.k8s.io/v1beta1", nil
	}
	return result, err
}

// clientGo is client-go's own transport (HTTP/2, its pings and time limits) without the layer above it, which waits and
// tries again where a server says so or a connection is reset. A dialer of its own makes client-go share no connection.
func clientGo(config *rest.Config) (*http.Client, error) {
	own := rest.CopyConfig(config)
	own.Dial = (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	return rest.HTTPClientFor(own)
}

// get asks for what is at the path and gives back the answer's body.
func (t *target) get(client *http.Client, path string) ([]byte, error) {
	return t.ask(client, http.MethodGet, path, nil)
}

func (t *target) ask(client *http.Client, method, path string, body []byte) ([]byte, error) {
	patient, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	stage := &stage{}
	request, err := http.NewRequestWithContext(stage.watch(patient), method, t.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if len(body) == 0 {
		request.Body, request.GetBody = nil, nil
	} else {
		request.Header.Set("Content-Type", "application/json")
	}
	answer, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("%w (%s)", err, stage)
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode/100 != 2 {
		err = &refusal{answer.StatusCode, message(content)}
	}
	return content, err
}

// stage is how far a request has come, which says where it was lost.
type stage struct{ atomic.Value }

func (s *stage) String() string {
	if reached, ok := s.Load().(string); ok {
		return reached
	}
	return "no connection begun"
}

func (s *stage) watch(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		ConnectStart:         func(string, string) { s.Store("connecting") },
		TLSHandshakeStart:    func() { s.Store("in the TLS handshake") },
		GotConn:              func(httptrace.GotConnInfo) { s.Store("sending") },
		WroteRequest:         func(httptrace.WroteRequestInfo) { s.Store("waiting for the answer") },
		GotFirstResponseByte: func() { s.Store("reading the answer") },
	})
}

// refusal is an answer that is not 2xx.
type refusal struct {
	code int
	text string
}

func (r *refusal) Error() string { return fmt.Sprintf("http %d: %s", r.code, r.text) }

// refused says whether the server answered with that code.
func refused(err error, code int) bool {
	var r *refusal
	return errors.As(err, &r) && r.code == code
}

// message is the text of a Status, or the first words of what else there is.
func message(content []byte) string {
	var status struct{ Message string }
	if json.Unmarshal(content, &status) == nil && status.Message != "" {
		return status.Message
	}
	return shorten(strings.Join(strings.Fields(string(content)), " "))
}

var changing = regexp.MustCompile(`(Get|Post|Delete) "[^"]*": |\d+\.\d+\.\d+\.\d+:\d+(->)?|load-\d+-\d+`)

// class is an error without what differs from one request to the next: addresses, URLs, names.
func class(err error) string {
	return shorten(strings.Join(strings.Fields(changing.ReplaceAllString(err.Error(), "")), " "))
}

func shorten(text string) string {
	if len(text) > 240 {
		return text[:240]
	}
	return text
}
