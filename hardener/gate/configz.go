package gate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// agrees compares what the running kubelet says of its configuration with the
// file: it is read only when the process starts. An unknown field is otherwise
// only a warning in the log (pkg/kubelet/kubeletconfig/util/codec), and a flag
// wins over the file. done tells that it need not be asked again.
func (k *kubelet) agrees(ctx context.Context, own *api, pid int) (done bool, missing string, err error) {
	set, err := readSettings(k.FS, k.component)
	if err != nil {
		return false, "", err
	}
	live, err := k.configz(ctx, own)
	if forbidden(err) {
		k.once("kubelet: which configuration it has cannot be asked: %s", noRights)
		return true, "", nil
	}
	if err != nil {
		return false, err.Error(), nil
	}
	// The flags that count are those of the process: the edit may have changed
	// the unit's since they were last read.
	if b, err := fs.ReadFile(k.FS, fmt.Sprintf("proc/%d/cmdline", pid)); err == nil && len(b) > 0 {
		set.argv = strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00")
	}
	differ := set.differences(live)
	if _, ok := node.FlagValue(set.argv, "config-dir"); ok && len(differ) > 0 {
		k.once("kubelet: files of --config-dir may override the configuration file: %s", strings.Join(differ, ", "))
		return true, "", nil
	}
	if len(differ) > 0 {
		return true, "", fmt.Errorf("it does not have what %s says: %s", k.component.Config, strings.Join(differ, ", "))
	}
	return true, "", nil
}

// noRights is no fault: a worker has no credentials for configz.
const noRights = "this node has no credentials for it"

// configz asks through the API server with every right, or else the kubelet
// itself with what it has, which is rarely allowed to (its own certificate is
// authorised for its Node, not for nodes/configz).
func (k *kubelet) configz(ctx context.Context, own *api) (map[string]any, error) {
	var answer struct {
		Config map[string]any `json:"kubeletconfig"`
	}
	if file := k.adminConf(k.at.facts); file != "" {
		config, err := kubeconfig(k.FS, file)
		if err != nil {
			return nil, err
		}
		admin, err := newAPI(config, "", k.Limits.Request)
		if err != nil {
			return nil, err
		}
		err = admin.get(ctx, "/api/v1/nodes/"+strings.ToLower(k.at.facts.NodeName)+"/proxy/configz", &answer)
		return answer.Config, err
	}
	n, err := own.node(ctx, k.at.facts.NodeName)
	if err != nil {
		return nil, err
	}
	config, err := kubeconfig(k.FS, k.component.Kubeconfig)
	if err != nil {
		return nil, err
	}
	// The serving certificate is self-signed as a rule, and nothing is sent
	// but a question.
	config.TLSClientConfig.Insecure, config.TLSClientConfig.CAData = true, nil
	direct, err := newAPI(config, n.kubelet(), k.Limits.Request)
	if err != nil {
		return nil, err
	}
	err = direct.get(ctx, "/configz", &answer)
	return answer.Config, err
}

// differences lists the fields of the file that the kubelet does not have, but
// for those that a flag overrides.
func (s settings) differences(live map[string]any) []string {
	var list []string
	compare("", s.values, live, func(field string, want, got any) {
		if _, overridden := node.FlagValue(s.argv, flagOf(field)); !overridden {
			list = append(list, fmt.Sprintf("%s is %s, not %s", field, show(got), show(want)))
		}
	})
	slices.Sort(list)
	return list
}

func compare(prefix string, want, live map[string]any, differs func(field string, want, got any)) {
	for name, w := range want {
		if prefix == "" && (name == "kind" || name == "apiVersion" || name == "metadata") {
			continue
		}
		field, got := prefix+name, live[name]
		if inner, ok := w.(map[string]any); ok {
			g, _ := got.(map[string]any)
			compare(field+".", inner, g, differs)
			continue
		}
		if !sameValue(w, got) {
			differs(field, w, got)
		}
	}
}

// sameValue compares a value of the file with the kubelet's. A zero value in
// the file is replaced by the default where there is one, or left out, but false
// is not true; durations have several spellings.
func sameValue(want, got any) bool {
	if zeroValue(want) {
		return got != true
	}
	if sameJSON(want, got) {
		return true
	}
	w, werr := time.ParseDuration(fmt.Sprint(want))
	l, lerr := time.ParseDuration(fmt.Sprint(got))
	return werr == nil && lerr == nil && w == l
}

func zeroValue(v any) bool {
	if v == nil {
		return true
	}
	if d, err := time.ParseDuration(fmt.Sprint(v)); err == nil && d == 0 {
		return true // "0s", and 0
	}
	r := reflect.ValueOf(v)
	return r.IsZero() || (r.Kind() == reflect.Slice || r.Kind() == reflect.Map) && r.Len() == 0
}

// sameJSON compares by JSON, so that 1 is 1.0, and "1" is 1 as in a quantity.
func sameJSON(a, b any) bool {
	x, xerr := json.Marshal(a)
	y, yerr := json.Marshal(b)
	unquote := func(b []byte) string { return strings.Trim(string(b), `"`) }
	return errors.Join(xerr, yerr) == nil && unquote(x) == unquote(y)
}

func show(v any) string {
	if v == nil {
		return "not set"
	}
	b, err := json.Marshal(v)
	if err != nil {
		return "?"
	}
	return string(b[:min(len(b), 100)])
}
