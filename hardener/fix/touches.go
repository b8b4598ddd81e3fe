package fix

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// maxTouched is how many names one line lists.
const maxTouched = 10

// connected lists who outside this node has a connection to a port now that a
// change is about to close to them. A client that asks now and then and does not
// keep its connection is not seen.
func connected(port uint16, what string) func(*attempt) []string {
	return func(c *attempt) []string {
		if !c.component.Running {
			return nil
		}
		remote, known := remotes(c.tx.fsys, c.component.PID, port)
		switch {
		case !known:
			return []string{fmt.Sprintf("who is connected to %s (port %d) cannot be seen here", what, port)}
		case len(remote) == 0:
			return []string{fmt.Sprintf("nobody outside this node is connected to %s (port %d) now", what, port)}
		}
		var names []string
		for _, a := range remote {
			names = append(names, a.String())
		}
		return []string{fmt.Sprintf("connected to %s (port %d) now: %s", what, port, listed(names))}
	}
}

func listed(names []string) string {
	if len(names) > maxTouched {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:maxTouched], ", "), len(names)-maxTouched)
	}
	return strings.Join(names, ", ")
}

// remotes are the addresses of other machines with an established connection to
// a local port, sorted. known is false when the node's tables cannot be read:
// those of the component's own network, else of the first process, which on a
// node is the host's.
func remotes(fsys fs.FS, pid int, port uint16) (out []netip.Addr, known bool) {
	for _, dir := range []string{"proc/" + strconv.Itoa(pid), "proc/1"} {
		var rows []connection
		for _, table := range []string{"tcp", "tcp6"} {
			data, err := fs.ReadFile(fsys, dir+"/net/"+table)
			if err == nil {
				known = true
				rows = append(rows, connections(data)...)
			}
		}
		if !known {
			continue
		}
		own := map[netip.Addr]bool{}
		for _, r := range rows {
			own[r.local.Addr()] = true
		}
		for _, r := range rows {
			from := r.remote.Addr()
			if r.local.Port() == port && !own[from] && !from.IsLoopback() && !slices.Contains(out, from) {
				out = append(out, from)
			}
		}
		slices.SortFunc(out, netip.Addr.Compare)
		return out, true
	}
	return nil, false
}

type connection struct{ local, remote netip.AddrPort }

// connections are the established connections of a table such as /proc/net/tcp
// (proc_pid_net(5)): addresses are in hexadecimal, each word of 32 bits in the
// machine's byte order, which is little endian wherever Kubernetes runs.
func connections(table []byte) []connection {
	const established = "01"
	var out []connection
	for line := range bytes.Lines(table) {
		fields := strings.Fields(string(line))
		if len(fields) < 4 || fields[3] != established {
			continue
		}
		local, okLocal := endpoint(fields[1])
		remote, okRemote := endpoint(fields[2])
		if okLocal && okRemote {
			out = append(out, connection{local, remote})
		}
	}
	return out
}

func endpoint(text string) (netip.AddrPort, bool) {
	address, port, ok := strings.Cut(text, ":")
	raw, err := hex.DecodeString(address)
	number, errPort := strconv.ParseUint(port, 16, 16)
	if !ok || err != nil || errPort != nil || len(raw) != 4 && len(raw) != 16 {
		return netip.AddrPort{}, false
	}
	for word := range slices.Chunk(raw, 4) {
		binary.BigEndian.PutUint32(word, binary.LittleEndian.Uint32(word))
	}
	addr, _ := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(addr.Unmap(), uint16(number)), true
}

// bundles are where container runtimes keep the OCI bundle of each container,
// and the annotations that name its image and pod.
var bundles = [...]struct{ dir, file, image, pod, namespace string }{
	{"run/containerd/io.containerd.runtime.v2.task/k8s.io", "config.json", "io.kubernetes.cri.image-name", "io.kubernetes.cri.sandbox-name", "io.kubernetes.cri.sandbox-namespace"},
	{"run/containers/storage/overlay-containers", "userdata/config.json", "io.kubernetes.cri-o.ImageName", "io.kubernetes.cri-o.KubeName", "io.kubernetes.cri-o.Namespace"},
}

// pulledImages lists the images of this node's containers that would have to be
// pulled at each start. What policy their pods ask for is not on the node; static
// pods keep the one of their manifest.
func pulledImages(c *attempt) []string {
	static := staticPods(c.tx, c.facts)
	var images []string
	for _, b := range bundles {
		entries, err := fs.ReadDir(c.tx.fsys, b.dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			data, err := fs.ReadFile(c.tx.fsys, path.Join(b.dir, e.Name(), b.file))
			if err != nil {
				continue
			}
			image := annotation(data, b.image)
			if image != "" && !static[annotation(data, b.namespace)+"/"+annotation(data, b.pod)] {
				images = append(images, image)
			}
		}
	}
	if len(images) == 0 {
		return nil
	}
	slices.Sort(images)
	return []string{"pulled at every start, unless their pods say so already: " + listed(slices.Compact(images))}
}

// annotation is the value of a key of an OCI bundle's configuration. Its
// annotations hold no quotes where names and images stand, so that the whole of
// it, tens of kilobytes for each container, need not be decoded.
func annotation(config []byte, key string) string {
	_, rest, found := bytes.Cut(config, []byte(`"`+key+`"`))
	rest, colon := bytes.CutPrefix(bytes.TrimLeft(rest, " \t\n"), []byte(":"))
	rest, quote := bytes.CutPrefix(bytes.TrimLeft(rest, " \t\n"), []byte(`"`))
	value, _, end := bytes.Cut(rest, []byte(`"`))
	if !found || !colon || !quote || !end {
		return ""
	}
	return string(value)
}

// staticPods are this node's static pods as NAMESPACE/NAME: the kubelet adds the
// node's name to the manifest's.
func staticPods(tx *workspace, facts node.Facts) map[string]bool {
	out := map[string]bool{}
	if facts.ManifestDir == "" {
		return out
	}
	entries, err := fs.ReadDir(tx.fsys, node.Name(facts.ManifestDir))
	if err != nil {
		return out
	}
	for _, e := range entries {
		data, err := tx.read(path.Join(facts.ManifestDir, e.Name()))
		if err != nil {
			continue
		}
		root, err := parseTree(data)
		if err != nil {
			continue
		}
		_, name := lookup(root, "metadata", "name")
		_, namespace := lookup(root, "metadata", "namespace")
		if name != nil && namespace != nil {
			out[namespace.Value+"/"+name.Value+"-"+facts.NodeName] = true
		}
	}
	return out
}
