package fix

import (
	"fmt"
	"path"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
)

// What keeps a fix: Kubespray renders the kubelet's and etcd's files and resets
// directories in every run, but has kubeadm write the static pods anew from
// kubeadm-config.yaml at an upgrade only (roles/kubernetes/control-plane/tasks/
// kubeadm-setup.yml, upgrade_cluster_setup). So that file tells of a manifest what the
// inventory says, and of the other files only a variable does.

// Fate is what becomes of a fix on one occasion.
type Fate struct {
	On       string `json:"on"` // one of the occasions
	Survives bool   `json:"survives"`
	Why      string `json:"why,omitempty"`
}

// The occasions of a forecast.
const (
	OnCluster = "cluster.yml"
	OnUpgrade = "upgrade-cluster.yml"
	OnScale   = "scale.yml"
	OnRenewal = "certificate renewal"
)

// forecast has a reason for each occasion that a fix does not survive.
type forecast struct{ cluster, upgrade, scale, renewal string }

func (f forecast) fates() []Fate {
	all := []Fate{{On: OnCluster, Why: f.cluster}, {On: OnUpgrade, Why: f.upgrade}, {On: OnScale, Why: f.scale}, {On: OnRenewal, Why: f.renewal}}
	for i := range all {
		all[i].Survives = all[i].Why == ""
	}
	return all
}

// kept reports that a variable keeps the fix in some release that may be this one.
func (p *planner) kept(variables []Variable) bool {
	for _, v := range variables {
		if _, some := v.In(*p.in.Facts.Kubespray); some {
			return true
		}
	}
	return false
}

// keepSettings completes the decision about settings that hold where c has them.
func (p *planner) keepSettings(d *Decision, picks []pick, or bool, on func(pick) *attempt) {
	d.Settings, d.Variables = nil, nil
	always := true
	for _, k := range picks {
		d.Settings = append(d.Settings, k.setting.Component+" "+k.name())
		d.Variables = addVariables(d.Variables, k.rule.filled(on(k)))
		always = always && k.rule.always != ""
	}
	if p.in.Facts.Kubespray == nil {
		return
	}
	component := picks[0].setting.Component
	pod := p.in.Facts.Components[component].Manifest != ""
	if pod {
		d.Lost = p.lost(picks, or)
	}
	var f forecast
	switch none := "no variable of this release keeps it"; {
	case always || p.kept(d.Variables):
	case pod && d.Lost != "":
		f.upgrade = "kubeadm writes the manifest anew, and " + none
	case pod:
	case component == node.Kubelet:
		f.cluster = "Kubespray writes the kubelet's files anew, and " + none
		f.upgrade, f.scale = f.cluster, f.cluster
	default:
		f.cluster = "Kubespray writes etcd's environment anew, and " + none
		f.upgrade = f.cluster
	}
	d.Forecast = f.fates()
}

// addVariables adds those that are not there yet.
func addVariables(all, more []Variable) []Variable {
	for _, v := range more {
		known := false
		for _, o := range all {
			known = known || o.Name == v.Name && o.Value == v.Value && o.Since == v.Since
		}
		if !known {
			all = append(all, v)
		}
	}
	return all
}

// lost says why kubeadm would not write the settings of a static pod as they are
// wanted, "" when it would or when nothing tells.
func (p *planner) lost(picks []pick, or bool) string {
	again, ok := p.regenerated()[picks[0].setting.Component]
	if !ok {
		return ""
	}
	why, tx := "", p.pristine()
	for _, k := range picks {
		c := &attempt{facts: p.in.Facts, component: again, tx: tx, place: anew{again}, setting: k.setting, item: k.item}
		if k.holds(c) {
			if or {
				return ""
			}
			continue
		}
		if why == "" {
			why = p.in.Facts.KubeadmConfig + " does not set --" + k.setting.Name
			if value, set := c.place.get(k.setting); set {
				why = fmt.Sprintf("%s comes to --%s=%s", p.in.Facts.KubeadmConfig, k.setting.Name, value)
			}
		}
	}
	return why
}

// regenerated are the static pods as an upgrade would write them. A file that cannot
// be read tells nothing; the facts have a warning about it.
func (p *planner) regenerated() map[string]node.Component {
	if p.again == nil {
		p.again, _ = node.Regenerated(p.in.FS, p.in.Facts)
		if p.again == nil {
			p.again = map[string]node.Component{}
		}
	}
	return p.again
}

// anew is the place of a static pod that is not there: its manifest as kubeadm would
// write it. It is for reading.
type anew struct{ component node.Component }

func (a anew) get(s profile.Setting) (string, bool) { return a.flag(s.Name) }

func (a anew) flag(name string) (string, bool) { return node.FlagValue(a.component.Configured, name) }

func (a anew) hostPath(inside string) (host string, readOnly, ok bool) {
	host, ok = a.component.HostPath(inside)
	return host, true, ok
}

func (a anew) set(profile.Setting, string) error { return fmt.Errorf("%s: only read", a.file()) }
func (a anew) remove(profile.Setting) error      { return fmt.Errorf("%s: only read", a.file()) }
func (a anew) apply(*workspace) error            { return nil }
func (a anew) changes() []string                 { return nil }
func (a anew) file() string                      { return a.component.Manifest }

// inForce decides about a check that passes. It is false when nobody had to see to
// it: what Kubespray does by itself is kept by itself.
func (p *planner) inForce(f Finding) (Decision, bool) {
	settings := f.Check.Settings()
	for _, s := range settings {
		if s.Kind == profile.Mode || s.Kind == profile.Owner {
			return p.filesInForce(f, settings)
		}
	}
	picks := p.picks(f, settings)
	if len(picks) == 0 || p.in.Facts.Kubespray == nil {
		return Decision{}, false
	}
	component := picks[0].setting.Component
	comp, tx := p.in.Facts.Components[component], p.pristine()
	at, err := p.place(component, comp, tx)
	if err != nil {
		return Decision{}, false
	}
	on := func(k pick) *attempt {
		return &attempt{facts: p.in.Facts, component: comp, tx: tx, place: at, setting: k.setting, item: k.item, free: p.in.FreeBytes}
	}
	or := f.Check.Tests.BinOp == "or"
	var chosen []pick
	for _, k := range picks {
		switch {
		case !k.known:
			return Decision{}, false
		case k.holds(on(k)):
			chosen = append(chosen, k)
		case !or:
			return Decision{}, false // passes for another reason than its settings
		}
	}
	if len(chosen) == 0 {
		return Decision{}, false
	}
	d := Decision{State: InForce, Risk: chosen[0].rule.riskOf()}
	p.keepSettings(&d, chosen, or, on)
	if or && d.Lost != "" && p.lost(picks, or) == "" {
		d.Lost = "" // another of the alternatives holds then
	}
	switch {
	case p.made(d.Settings):
		d.Reason = "made by an earlier run"
	case d.Lost != "":
		d.Reason = "not by Kubespray: " + at.file() + " says otherwise than kubeadm-config.yaml"
	default:
		return Decision{}, false
	}
	return d, true
}

func (p *planner) made(settings []string) bool {
	for _, s := range settings {
		if p.in.Made[s] {
			return true
		}
	}
	return false
}

// filesInForce is inForce for modes and owners that a run set.
func (p *planner) filesInForce(f Finding, settings []profile.Setting) (Decision, bool) {
	want, err := metaOf(f.Check, settings)
	if err != nil || len(p.in.Made) == 0 || p.in.Facts.Kubespray == nil {
		return Decision{}, false
	}
	tx := p.pristine()
	var paths []string
	for _, stat := range f.Stats {
		real, err := tx.resolve(stat)
		if err == nil && p.made(want.settings([]string{real})) {
			paths = append(paths, real)
		}
	}
	if len(paths) == 0 {
		return Decision{}, false
	}
	d := Decision{State: InForce, Risk: RiskFiles, Reason: "made by an earlier run", Paths: unique(paths)}
	p.keepFiles(&d, want)
	return d, true
}

// settings are the names of what is wanted of paths.
func (w wantedMeta) settings(paths []string) []string {
	kind := "mode"
	if w.owner != "" {
		kind = "owner"
	}
	var out []string
	for _, p := range paths {
		out = append(out, FilesGroup+" "+kind+" of "+p)
	}
	return out
}

// keepFiles completes the decision about mode or owner of its paths.
func (p *planner) keepFiles(d *Decision, want wantedMeta) {
	d.Settings, d.Variables = want.settings(d.Paths), fileVariables(d.Paths, want)
	if p.in.Facts.Kubespray == nil {
		return
	}
	var f forecast
	for _, file := range d.Paths {
		f = f.worse(p.fileForecast(file, want))
	}
	d.Forecast = f.fates()
}

func (f forecast) worse(g forecast) forecast {
	or := func(a, b string) string {
		if a != "" {
			return a
		}
		return b
	}
	return forecast{or(f.cluster, g.cluster), or(f.upgrade, g.upgrade), or(f.scale, g.scale), or(f.renewal, g.renewal)}
}

// fileForecast is what becomes of mode or owner of one path. kubeadm's own files are
// root's and closed already.
func (p *planner) fileForecast(file string, want wantedMeta) forecast {
	every := func(why string) forecast { return forecast{cluster: why, upgrade: why, scale: why} }
	first, last := p.in.Facts.Kubespray.Ends()
	dirs := within(file, "/etc/kubernetes") || within(file, "/etc/cni/net.d")
	switch {
	case want.owner != "" && dirs && !p.kept(fileVariables([]string{file}, want)):
		return every("Kubespray gives " + file + " back to its own user in every run, and no variable of this release changes that")
	case want.owner != "":
		return forecast{} // kept by its variable, or reset by nobody
	case path.Base(file) == "kubelet.service" && (first < 22 || last > 31):
		return every("Kubespray sets the mode of kubelet.service again in every run, and no variable changes that")
	case path.Base(file) == "kubelet-config.yaml" && first < 23:
		return every("Kubespray before 2.23 sets the mode of kubelet-config.yaml again in every run, and no variable changes that")
	case path.Ext(file) == ".crt" && want.mask&0o044 == 0:
		const why = "kubeadm writes certificates with mode 0644 again when it renews them"
		return forecast{upgrade: why, renewal: why}
	case within(file, "/etc/cni/net.d"):
		const why = "the network's pods write their files anew when they start"
		return forecast{cluster: why, upgrade: why}
	case p.isDir(file) && dirs:
		return every("Kubespray sets the mode of " + file + " to 0755 again in every run, and no variable changes that")
	}
	return forecast{}
}

func (p *planner) isDir(file string) bool {
	st, err := p.ws.stat(file)
	return err == nil && st.dir
}
