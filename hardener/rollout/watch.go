package rollout

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/kubespray-hardener/kubespray-hardener/manifests"
)

// WatchPort is where the watcher of manifests/watch.yaml serves its metrics.
const WatchPort = 9808

// metricsFlag is the argument that says so.
const metricsFlag = "--metrics-address="

// What a watcher repairs: the values of --repair.
const (
	RepairNone    = "none"
	RepairFiles   = "files"   // modes and owners, without a restart
	RepairRestart = "restart" // settings too
)

// edit replaces what lies in a text from the line that is from up to the line that is
// to, which stays.
type edit struct{ from, to, with string }

// repairing are what makes the read-only pods of watch.yaml those of the Job of a fix:
// a repair writes what a fix writes, in the same way.
var repairing = []edit{
	{"      terminationGracePeriodSeconds: 30", "      # The node's processes, by the PIDs that the node knows them by.", `      # Told to stop, a repair first puts back what it has not proven.
      terminationGracePeriodSeconds: 900
`},
	{"        # What reading everything of a node takes, and no more. That is a lot: whoever", "        volumeMounts:", `        # A repair is root on the node, as a fix is.
        securityContext:
          privileged: true
          readOnlyRootFilesystem: true
`},
	{"        # readOnly is for the file system of / alone: what is mounted below it, such as", "        - name: host", ""},
	{"          readOnly: true", "          mountPropagation: HostToContainer # what the host mounts or unmounts later is seen too", ""},
	// All of the tree can be written, and a mount of its own would only be in the way of a rename.
	{"        # The watcher's memory: what it has told the cluster. Not the folder above, from", "      volumes:", ""},
	{"      - name: state", "", ""},
}

// restarting are what restarts need besides.
var restarting = []edit{
	{"      # The proofs of a restart ask 127.0.0.1; nothing else needs the node's network.", "      dnsPolicy: Default # as the node resolves names, with or without CoreDNS", `      # The proofs of a restart ask 127.0.0.1. The port of the metrics is then the node's.
      hostNetwork: true
`},
}

// WatchManifests is the YAML that watches every node: install.yaml and watch.yaml with
// this image and these arguments, comments and all, and for a watcher that repairs
// (see RepairNone) the rights it needs in the cluster and on the node. The port is
// that of --metrics-address, which is added where the arguments do not have it.
func WatchManifests(image string, args []string, repair string) ([]byte, error) {
	out, err := watchManifests(image, args, repair)
	if err != nil {
		return nil, fmt.Errorf("manifest of the watcher: %w", err)
	}
	return out, nil
}

func watchManifests(image string, args []string, repair string) ([]byte, error) {
	port := WatchPort
	if i := slices.IndexFunc(args, func(a string) bool { return strings.HasPrefix(a, metricsFlag) }); i >= 0 {
		var err error
		if port, err = portOf(strings.TrimPrefix(args[i], metricsFlag)); err != nil {
			return nil, err
		}
	} else {
		args = slices.Concat(args, []string{metricsFlag + ":" + strconv.Itoa(port)})
	}
	text := strings.ReplaceAll(string(manifests.Watch()), strconv.Itoa(WatchPort), strconv.Itoa(port))
	text, err := fillIn(text, image, args)
	if err != nil {
		return nil, err
	}
	var edits []edit
	switch repair {
	case RepairNone:
	case RepairFiles:
		edits = repairing
	case RepairRestart:
		edits = slices.Concat(repairing, restarting)
	default:
		return nil, fmt.Errorf("no such repair: %q", repair)
	}
	for _, e := range edits {
		if text, err = e.apply(text); err != nil {
			return nil, err
		}
	}
	var (
		account corev1.ServiceAccount
		role    rbacv1.Role
		binding rbacv1.RoleBinding
		set     appsv1.DaemonSet
	)
	if err := decodeAll([]byte(text), &account, &role, &binding, &set); err != nil {
		return nil, err
	}
	out := slices.Concat(manifests.Install(), []byte("---\n"), []byte(text))
	if repair != RepairNone {
		out = slices.Concat(out, []byte("---\n"), manifests.Repair())
	}
	return out, nil
}

// portOf is the port of an address that the kubelet's probes reach: one of all
// addresses of the pod.
func portOf(address string) (int, error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return 0, fmt.Errorf("%s%s: %w", metricsFlag, address, err)
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if ip := net.ParseIP(host); err != nil || port == 0 || host != "" && (ip == nil || !ip.IsUnspecified()) {
		return 0, fmt.Errorf("%s%s: not a port of all addresses, such as :%d: the kubelet's probes would not reach it", metricsFlag, address, WatchPort)
	}
	return int(port), nil
}

// apply makes the edit. An empty to is the end of the text.
func (e edit) apply(text string) (string, error) {
	head, rest, ok := strings.Cut(text, "\n"+e.from+"\n")
	if !ok || strings.Contains(rest, "\n"+e.from+"\n") {
		return "", fmt.Errorf("not just one line %q", e.from)
	}
	tail := ""
	if e.to != "" {
		if _, tail, ok = strings.Cut("\n"+rest, "\n"+e.to+"\n"); !ok {
			return "", fmt.Errorf("no line %q after %q", e.to, e.from)
		}
		tail = e.to + "\n" + tail
	}
	return head + "\n" + e.with + tail, nil
}
