// Command busyclient writes and reads a ConfigMap and a Secret in turn through the
// API ten times a second, until it is told to stop, and prints how that went as
// JSON. It runs on a lab's worker, through its proxy, as a user of the cluster
// would. A request that fails is made once more, a second later.
package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// result counts requests.
type result struct {
	Requests int      `json:"requests"`
	Retried  int      `json:"retried"` // failed once, and not the second time
	Failed   int      `json:"failed"`  // failed twice
	Wrong    int      `json:"wrong"`   // read something else than was written
	Slowest  float64  `json:"slowest"` // seconds, a retry included
	Words    []string `json:"words"`   // of the first failures
}

func main() {
	kubeconfig := flag.String("kubeconfig", "", "whose rights")
	server := flag.String("server", "https://localhost:6443", "where")
	flag.Parse()
	if err := run(*kubeconfig, *server); err != nil {
		fmt.Fprintln(os.Stderr, "busyclient: error:", err)
		os.Exit(1)
	}
}

func run(kubeconfig, server string) error {
	config, err := clientcmd.BuildConfigFromFlags(server, kubeconfig)
	if err != nil {
		return err
	}
	transport, err := rest.TransportFor(config)
	if err != nil {
		return err
	}
	c := client{http: &http.Client{Transport: transport, Timeout: 20 * time.Second}, server: server}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	for i, tick := 0, time.NewTicker(100*time.Millisecond); ctx.Err() == nil; i++ {
		if i%2 == 0 {
			c.round("ConfigMap", "/api/v1/namespaces/default/configmaps/busyclient")
		} else {
			c.round("Secret", "/api/v1/namespaces/default/secrets/busyclient")
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	return json.NewEncoder(os.Stdout).Encode(c.result)
}

type client struct {
	http   *http.Client
	server string
	result
}

// round writes the next number and reads it.
func (c *client) round(kind, object string) {
	want := base64.StdEncoding.EncodeToString([]byte(strconv.Itoa(c.Requests))) // as a Secret's data are
	body := fmt.Sprintf(`{"apiVersion":"v1","kind":%q,"metadata":{"name":"busyclient","namespace":"default"},"data":{"n":%q}}`, kind, want)
	if _, ok := c.twice(http.MethodPatch, object+"?fieldManager=busyclient&force=true", []byte(body)); !ok {
		return
	}
	answer, ok := c.twice(http.MethodGet, object, nil)
	var read struct{ Data map[string]string }
	if ok && (json.Unmarshal(answer, &read) != nil || read.Data["n"] != want) {
		c.Wrong++
	}
}

func (c *client) twice(method, path string, body []byte) ([]byte, bool) {
	began := time.Now()
	defer func() { c.Slowest = max(c.Slowest, time.Since(began).Seconds()) }()
	c.Requests++
	answer, err := c.once(method, path, body)
	if err == nil {
		return answer, true
	}
	c.say(err)
	time.Sleep(time.Second) // as clients do, so that the proxy finds another server
	if answer, err = c.once(method, path, body); err == nil {
		c.Retried++
		return answer, true
	}
	c.say(err)
	c.Failed++
	return nil, false
}

func (c *client) say(err error) {
	if len(c.Words) < 20 {
		c.Words = append(c.Words, time.Now().UTC().Format("15:04:05.0 ")+err.Error())
	}
}

func (c *client) once(method, path string, body []byte) ([]byte, error) {
	request, err := http.NewRequest(method, c.server+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/apply-patch+yaml")
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode >= 300 {
		err = fmt.Errorf("%s: %s: %.200s", method, response.Status, answer)
	}
	return answer, err
}
