// Package kubectl owns the part of kubectl that the policies audits of
// kube-bench's cis profiles call: get as JSON, custom columns, jsonpath and
// names, and auth can-i. It talks to the API server in process, read-only, and
// prints what kubectl prints.
//
// kubectl's own command packages would do the same, but linking them costs
// 40 ms and 35 MiB at every start of the program, more than a whole check of a
// node. What is not supported here fails with kubectl's status 1 and a clear
// line, so the check is WARN.
package kubectl

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"

	"k8s.io/client-go/rest"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/shell"
)

// ErrNoServer is what a Connect function returns when no cluster is configured.
// The command then says what kubectl says in that case.
var ErrNoServer = errors.New("no kubeconfig")

// noServer is kubectl's text for a missing kubeconfig
// (k8s.io/kubectl/pkg/cmd/util/helpers.go, checkErr).
const noServer = "The connection to the server localhost:8080 was refused - did you specify the right host or port?"

// Command is kubectl as a command of the audit shell. connect is called at the
// first invocation, so that a run that never calls kubectl never connects.
//
// All invocations see the cluster as it was when they first asked: what has been
// fetched is kept (see client). Make another Command for another moment. It may
// be called concurrently.
func Command(connect func() (*rest.Config, error)) shell.Command {
	s := &session{connect: sync.OnceValues(connect), clients: map[string]*client{}}
	return func(ctx context.Context, c shell.Call) error {
		err := s.run(ctx, c)
		var denied deniedError
		switch {
		case err == nil:
			return nil
		case errors.As(err, &denied): // can-i answered no: printed already
		case errors.Is(err, ErrNoServer):
			fmt.Fprintln(c.Stderr, noServer)
		default:
			fmt.Fprintln(c.Stderr, serverText(err))
		}
		return shell.ExitStatus(1)
	}
}

type deniedError struct{}

func (deniedError) Error() string { return "no" }

// session is the invocations of one Command.
type session struct {
	connect func() (*rest.Config, error)
	mu      sync.Mutex
	clients map[string]*client // by the user that they impersonate
}

// as is the client for a user; the empty name stands for nobody else.
func (s *session) as(user string) (*client, error) {
	config, err := s.connect()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if api := s.clients[user]; api != nil {
		return api, nil
	}
	if user != "" {
		config = rest.CopyConfig(config)
		config.Impersonate.UserName = user
	}
	api, err := newClient(config)
	if err != nil {
		return nil, err
	}
	s.clients[user] = api
	return api, nil
}

func (s *session) run(ctx context.Context, c shell.Call) error {
	o, err := parse(c.Args[1:])
	if err != nil {
		return fmt.Errorf("error: %w", err)
	}
	api, err := s.as(o.as)
	if err != nil {
		return err
	}
	switch {
	case o.words[0] == "get":
		return get(ctx, api, o, c)
	case len(o.words) >= 2 && o.words[0] == "auth" && o.words[1] == "can-i":
		return canI(ctx, api, o, c)
	}
	return fmt.Errorf("error: kubectl %s is not available in process", o.words[0])
}

// options are the flags of the commands above.
type options struct {
	words          []string // command and positional arguments
	namespace      string
	allNamespaces  bool
	output         string
	noHeaders      bool
	ignoreNotFound bool
	fieldSelector  string
	labelSelector  string
	as             string
}

func parse(args []string) (options, error) {
	o := options{namespace: "default"}
	values := map[string]*string{
		"-n": &o.namespace, "--namespace": &o.namespace,
		"-o": &o.output, "--output": &o.output,
		"--field-selector": &o.fieldSelector,
		"-l":               &o.labelSelector, "--selector": &o.labelSelector,
		"--as": &o.as,
	}
	switches := map[string]*bool{
		"-A": &o.allNamespaces, "--all-namespaces": &o.allNamespaces,
		"--no-headers": &o.noHeaders, "--ignore-not-found": &o.ignoreNotFound,
	}
	for i := 0; i < len(args); i++ {
		arg := args[i]
		name, value, hasValue := strings.Cut(arg, "=")
		if !strings.HasPrefix(arg, "-") {
			o.words = append(o.words, arg)
			continue
		}
		if target := switches[name]; target != nil {
			*target = !hasValue || value == "true"
			continue
		}
		if !strings.HasPrefix(arg, "--") && len(arg) > 2 && !hasValue { // -ojson
			name, value, hasValue = arg[:2], arg[2:], true
		}
		target := values[name]
		if target == nil {
			return o, fmt.Errorf("unknown flag: %s", name)
		}
		if !hasValue {
			if i++; i == len(args) {
				return o, fmt.Errorf("flag needs an argument: %s", name)
			}
			value = args[i]
		}
		*target = value
	}
	if len(o.words) == 0 {
		return o, errors.New("no command given")
	}
	return o, nil
}

// resource is where a kind of object lives in the API.
type resource struct {
	group, version, plural string
	namespaced             bool
}

// resources are the kinds that the cis profiles ask for, by every name that
// kubectl knows them by.
func resources() map[string]resource {
	core := func(plural string, namespaced bool) resource { return resource{"", "v1", plural, namespaced} }
	rbac := func(plural string, namespaced bool) resource {
		return resource{"rbac.authorization.k8s.io", "v1", plural, namespaced}
	}
	known := map[string]resource{}
	add := func(r resource, names ...string) {
		for _, name := range append(names, r.plural, strings.TrimSuffix(r.plural, "s")) {
			known[name] = r
		}
	}
	add(core("pods", true), "po")
	add(core("serviceaccounts", true), "sa")
	add(core("services", true), "svc")
	add(core("namespaces", false), "ns")
	add(core("nodes", false), "no")
	add(core("secrets", true))
	add(core("configmaps", true), "cm")
	add(rbac("roles", true))
	add(rbac("rolebindings", true))
	add(rbac("clusterroles", false))
	add(rbac("clusterrolebindings", false))
	add(resource{"networking.k8s.io", "v1", "networkpolicies", true}, "netpol", "networkpolicy")
	add(resource{"networking.k8s.io", "v1", "ingresses", true}, "ing", "ingress")
	add(resource{"certificates.k8s.io", "v1", "certificatesigningrequests", false}, "csr")
	add(resource{"policy", "v1beta1", "podsecuritypolicies", false}, "psp", "podsecuritypolicy")
	return known
}

func lookup(name string) (resource, error) {
	r, ok := resources()[strings.ToLower(name)]
	if !ok {
		return r, fmt.Errorf("error: the server doesn't have a resource type %q", name)
	}
	return r, nil
}

// path is the API path of a collection, or of one object when name is given.
func (r resource) path(o options, name string) string {
	parts := []string{"/api", r.version}
	if r.group != "" {
		parts = []string{"/apis", r.group, r.version}
	}
	if r.namespaced && (!o.allNamespaces || name != "") {
		parts = append(parts, "namespaces", url.PathEscape(o.namespace))
	}
	parts = append(parts, r.plural)
	if name != "" {
		parts = append(parts, url.PathEscape(name))
	}
	return strings.Join(parts, "/")
}

// query is the first page of a collection.
func (r resource) query(o options) string {
	query := url.Values{"limit": {fmt.Sprint(pageSize)}}
	if o.fieldSelector != "" {
		query.Set("fieldSelector", o.fieldSelector)
	}
	if o.labelSelector != "" {
		query.Set("labelSelector", o.labelSelector)
	}
	return r.path(o, "") + "?" + query.Encode()
}

func get(ctx context.Context, api *client, o options, c shell.Call) error {
	print, err := printer(o)
	if err != nil {
		return err
	}
	if len(o.words) < 2 {
		return errors.New("error: you must specify the type of resource to get")
	}
	names := o.words[2:]
	var items []any
	var missing []error
	for kind := range strings.SplitSeq(o.words[1], ",") {
		r, err := lookup(kind)
		if err != nil {
			return err
		}
		if len(names) == 0 {
			found, err := api.list(ctx, r, o)
			if err != nil {
				return err
			}
			items = append(items, found...)
			continue
		}
		for _, name := range names {
			item, err := api.get(ctx, r, o, name)
			switch {
			case isNotFound(err):
				if !o.ignoreNotFound {
					missing = append(missing, err)
				}
			case err != nil:
				return err
			default:
				items = append(items, item)
			}
		}
	}
	single := len(names) == 1 && !strings.Contains(o.words[1], ",")
	if len(items) > 0 || (len(names) == 0 && o.output != "") {
		if err := print(c.Stdout, items, single); err != nil {
			return err
		}
	} else if len(missing) == 0 && !o.ignoreNotFound && len(names) == 0 {
		fmt.Fprintln(c.Stderr, noneFound(o))
	}
	return errors.Join(missing...)
}

func noneFound(o options) string {
	if o.allNamespaces {
		return "No resources found"
	}
	return fmt.Sprintf("No resources found in %s namespace.", o.namespace)
}

// knownVerbs are the verbs that kubectl auth can-i does not warn about
// (k8s.io/kubectl/pkg/cmd/auth/cani.go, resourceVerbs).
var knownVerbs = []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "use", "bind", "impersonate", "*", "approve", "sign", "escalate", "attest"}

func canI(ctx context.Context, api *client, o options, c shell.Call) error {
	if len(o.words) != 4 {
		//lint:ignore ST1005 kubectl's own words
		return errors.New("error: you must specify two arguments: verb resource or verb resource/resourceName.")
	}
	verb := o.words[2]
	kind, name, _ := strings.Cut(o.words[3], "/")
	r, err := lookup(kind)
	if err != nil {
		return err
	}
	namespace := o.namespace
	if o.allNamespaces {
		namespace = ""
	} else if !slices.Contains(knownVerbs, verb) { // kubectl warns only here
		fmt.Fprintf(c.Stderr, "Warning: verb '%s' is not a known verb\n\n", verb)
	}
	status, err := api.canI(ctx, map[string]any{
		"namespace": namespace, "verb": verb, "group": r.group, "resource": r.plural, "name": name,
	})
	if err != nil {
		return err
	}
	if allowed, _ := status["allowed"].(bool); allowed {
		fmt.Fprintln(c.Stdout, "yes")
		return nil
	}
	answer := "no"
	for _, key := range []string{"reason", "evaluationError"} {
		if text, _ := status[key].(string); text != "" {
			answer += " - " + text
		}
	}
	fmt.Fprintln(c.Stdout, answer)
	return deniedError{}
}
