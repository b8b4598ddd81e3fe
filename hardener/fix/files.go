package fix

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
)

// wantedMeta is what the items of a check ask of modes and owners.
type wantedMeta struct {
	mask  fs.FileMode // permissions that may remain
	mode  bool
	owner string // user:group
}

func metaOf(c *profile.Check, settings []profile.Setting) (wantedMeta, error) {
	var w wantedMeta
	for i, s := range settings {
		if c.Tests == nil || i >= len(c.Tests.Items) {
			continue
		}
		item := c.Tests.Items[i]
		switch s.Kind {
		case profile.Mode:
			if item.Compare.Op == "" || !item.Set {
				continue // "or the file is not there"
			}
			mask, err := strconv.ParseUint(item.Compare.Value, 8, 32)
			if err != nil || item.Compare.Op != "bitmask" && item.Compare.Op != "eq" {
				return w, fmt.Errorf("the profile asks for a mode in a way that is not understood: %s %q", item.Compare.Op, item.Compare.Value)
			}
			w.mask, w.mode = fs.FileMode(mask)&fs.ModePerm, true
		case profile.Owner:
			for _, text := range []string{item.Compare.Value, item.Flag} {
				if user, group, ok := strings.Cut(text, ":"); ok && user != "" && group != "" && w.owner == "" {
					w.owner = text
				}
			}
		}
	}
	if !w.mode && w.owner == "" {
		return w, errors.New("the profile does not say which owner")
	}
	return w, nil
}

// narrow is a mode reduced to what the mask allows; nothing is ever added. A
// directory keeps its search bits wherever reading stays allowed: without them
// nothing inside could be opened, which root does not notice and processes
// without DAC_OVERRIDE do (Cilium's init containers).
func narrow(old, mask fs.FileMode, dir bool) fs.FileMode {
	if !dir {
		return old & mask
	}
	keep := mask&0o777 | (mask&0o444)>>2
	return old&0o777&keep | old&^0o777
}

// decideFiles is for checks of modes and owners.
func (p *planner) decideFiles(f Finding, settings []profile.Setting) Decision {
	none := func(s State, why string) Decision {
		return Decision{State: s, Risk: RiskFiles, Reason: why}
	}
	want, err := metaOf(f.Check, settings)
	if err != nil {
		return none(Manual, err.Error())
	}
	if len(f.Stats) == 0 {
		why := "the check looked at no file of this node, and none is created for it"
		if strings.Contains(f.Check.Text, "pod specification") {
			why += ": what lies in the manifest directory is started as a pod"
		}
		return none(Manual, why)
	}
	tx := p.ws.clone()
	left, notes := p.fixAll(tx, f.Stats, want)
	paths, with := tx.changed(p.ws), p.ws
	if len(paths) == 0 { // perhaps a stricter check has seen to it
		with = p.pristine()
		all := with.clone()
		p.fixAll(all, f.Stats, want)
		paths = all.changed(with)
	}
	if len(paths) == 0 {
		if len(left) == 0 {
			left = append(left, joinReason("every file is as wanted already", strings.Join(unique(notes), "; ")))
		}
		return none(Manual, strings.Join(unique(left), "; "))
	}
	summary := fmt.Sprintf("%s of %d paths", want, len(paths))
	if len(paths) == 1 {
		summary = fmt.Sprintf("%s of %s", want, paths[0])
	}
	d := none(Planned, strings.Join(unique(slices.Concat([]string{summary}, left, notes, durability(paths, want))), "; "))
	d.Paths, d.Diff = paths, p.diffBetween(with, tx, paths)
	p.keepFiles(&d, want)
	d.Breaks = fileBreaks(want)
	return p.keep(f, d, tx, false)
}

// String is what is wanted, in words.
func (w wantedMeta) String() string {
	switch {
	case !w.mode:
		return "owner " + w.owner
	case w.owner == "":
		return "mode at most " + octal(w.mask)
	}
	return "mode at most " + octal(w.mask) + " and owner " + w.owner
}

func (p *planner) fixAll(tx *workspace, stats []string, want wantedMeta) (left, notes []string) {
	for _, stat := range stats {
		note, err := p.fixMeta(tx, stat, want)
		if err != nil {
			left = append(left, err.Error())
		}
		notes = append(notes, note)
	}
	return left, notes
}

func fileBreaks(w wantedMeta) string {
	if w.owner != "" {
		return "programs that read the files as their former owner or group"
	}
	return "programs other than root's that read the files"
}

// fixMeta plans mode and owner of one file. The note tells of what stays
// noticeable; the error why the file is left alone.
func (p *planner) fixMeta(tx *workspace, stat string, want wantedMeta) (note string, err error) {
	link := tx.isLink(strings.TrimSuffix(stat, "/")) && !strings.HasSuffix(stat, "/")
	st, err := tx.stat(stat)
	switch {
	case err != nil:
		return "", fmt.Errorf("left alone: %w", err)
	case within(st.real, "/var/lib/cni"):
		return "", fmt.Errorf("left alone: %s: the network plugin makes its files anew", st.real)
	case link && !p.mayFollow(tx, stat, st.real):
		return "", fmt.Errorf("%s is a link to %s, outside its directory: left alone", stat, st.real)
	}
	mode, uid, gid := st.Mode, st.UID, st.GID
	if want.mode {
		mode = narrow(st.Mode, want.mask, st.dir)
		if st.dir && want.mask&0o111 == 0 && (st.UID != 0 || !st.owned) {
			// A list of files that a directory is in. Root without DAC_OVERRIDE,
			// as in Cilium's init containers, could not enter another's directory.
			mode = st.Mode &^ (0o022 &^ want.mask)
		}
		if why := p.readers(tx, st, mode); why != "" {
			return "", errors.New(why)
		}
	}
	if want.owner != "" {
		if uid, gid, err = p.owner(st, want.owner); err != nil {
			return "", err
		}
	}
	if mode != st.Mode || uid != st.UID || gid != st.GID {
		tx.chmeta(st, mode, uid, gid)
		if st.nlink > 1 && !st.dir {
			note = st.real + " has other hard links, which change with it"
		}
	}
	switch {
	case link:
		note = stat + " is a link, whose own mode kube-bench judges; its file is what counts"
	case st.dir && want.mode && mode&0o777&^want.mask != 0:
		note = st.real + " is a directory and keeps its search bits"
	}
	return note, nil
}

// mayFollow allows links that stay in their own directory or in the directories
// of the node's certificates and configuration.
func (p *planner) mayFollow(tx *workspace, link, target string) bool {
	home, err := tx.resolve(path.Dir(link))
	if err != nil {
		return false
	}
	for _, dir := range []string{home, p.in.Facts.PKIDir, p.in.Facts.EtcdCertDir, p.in.Facts.KubeConfigDir} {
		if dir != "" && within(target, dir) {
			return true
		}
	}
	return false
}

// owner looks the wanted names up among the node's own users. The data directory
// of etcd goes to etcd only while the service runs as root: owned by another
// user it would be unreadable.
func (p *planner) owner(st entry, want string) (uid, gid int, err error) {
	user, group, _ := strings.Cut(want, ":")
	uid, ok := p.in.Users.UID(user)
	if !ok {
		return 0, 0, fmt.Errorf("%s: user %s does not exist on this node", st.real, user)
	}
	if gid, ok = p.in.Users.GID(group); !ok {
		return 0, 0, fmt.Errorf("%s: group %s does not exist on this node", st.real, group)
	}
	if !st.owned {
		return 0, 0, fmt.Errorf("%s: its owner cannot be read", st.real)
	}
	if user != "root" {
		etcd := p.in.Facts.Components[node.Etcd]
		if !st.dir {
			return 0, 0, fmt.Errorf("%s: only a directory is given to %s", st.real, user)
		}
		if etcd.User != "" && etcd.User != "root" && etcd.User != user {
			return 0, 0, fmt.Errorf("%s: etcd runs as %s and could not read it any more", st.real, etcd.User)
		}
	}
	return uid, gid, nil
}

// readers says why reading may not be taken from group and others: a static pod
// that does not run as root reads what lies in the configuration directory.
func (p *planner) readers(tx *workspace, st entry, mode fs.FileMode) string {
	dir := p.in.Facts.KubeConfigDir
	if st.Mode&^mode&0o044 == 0 || dir == "" || !within(st.real, dir) || within(st.real, p.in.Facts.ManifestDir) && p.in.Facts.ManifestDir != "" {
		return ""
	}
	for _, c := range []string{node.APIServer, node.ControllerManager, node.Scheduler} {
		file := p.in.Facts.Components[c].Manifest
		if file == "" {
			continue
		}
		data, err := tx.read(file)
		if err != nil {
			continue
		}
		for _, line := range strings.Split(string(data), "\n") {
			key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
			value = strings.TrimSpace(value)
			if key == "runAsUser" && value != "0" || key == "runAsNonRoot" && value == "true" {
				return fmt.Sprintf("%s: %s runs a pod that is not root (%s) and may read it", st.real, file, strings.TrimSpace(line))
			}
		}
	}
	return ""
}

// fileVariables are the variables that keep owners through the next playbook
// run. For modes Kubespray has none.
func fileVariables(paths []string, want wantedMeta) []Variable {
	var out []Variable
	add := func(name, since string) {
		for _, o := range out {
			if o.Name == name {
				return
			}
		}
		out = append(out, Variable{Name: name, Value: "root", Since: since})
	}
	for _, p := range paths {
		switch {
		case want.owner == "":
		case within(p, "/etc/kubernetes/ssl") || within(p, "/etc/kubernetes/pki"):
			add("kube_cert_group", "2.20") // before, the owner is user kube whatever the group
			add("kube_owner", "2.20")
		case within(p, "/etc/cni/net.d") || within(p, "/etc/kubernetes"):
			add("kube_owner", "2.20")
		}
	}
	return out
}

// durability tells of files whose mode somebody else sets again.
func durability(paths []string, want wantedMeta) []string {
	var out []string
	for _, p := range paths {
		switch {
		case !want.mode:
		case path.Base(p) == "kubelet.service":
			out = append(out, "Kubespray sets the mode of kubelet.service again at every run (0600 in 2.22 to 2.31, else 0644), and no variable changes that")
		case path.Ext(p) == ".crt" && want.mask&0o044 == 0:
			out = append(out, "kubeadm writes certificates with mode 0644 again when it renews them")
		case within(p, "/etc/cni/net.d"):
			out = append(out, "the network's pods write their files anew when they start")
		}
	}
	return out
}

func unique(list []string) []string {
	var out []string
	seen := map[string]bool{}
	for _, s := range list {
		if s != "" && !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}
