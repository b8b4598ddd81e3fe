package fix

import (
	"fmt"
	"path"
	"slices"

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
	Variable bool   `json:"variable,omitempty"` // whether it does is up to its variable
	Why      string `json:"why,omitempty"`      // it does not survive
}

// The occasions of a forecast.
const (
	OnCluster = "cluster.yml"
	OnUpgrade = "upgrade-cluster.yml"
	OnScale   = "scale.yml"
	OnRenewal = "certificate renewal"
)

// occasions are all of them, in their order.
var occasions = [...]string{OnCluster, OnUpgrade, OnScale, OnRenewal}

// survives is the forecast of what nothing takes back.
func survives() []Fate {
	var all []Fate
	for _, on := range occasions {
		all = append(all, Fate{On: on, Survives: true})
	}
	return all
}

// With is a forecast for a release in which a variable keeps the fix, or none does.
func With(forecast []Fate, kept bool) []Fate {
	all := slices.Clone(forecast)
	for i, f := range all {
		if !f.Variable {
			continue
		}
		if all[i].Survives, all[i].Why = kept, ""; !kept {
			all[i].Why = "no variable keeps it"
		}
	}
	return all
}

// Worse is the forecast for two fixes together.
func Worse(a, b []Fate) []Fate {
	if len(a) == 0 {
		return slices.Clone(b)
	}
	a = slices.Clone(a)
	for i := range a {
		for _, f := range b {
			if f.On != a[i].On {
				continue
			}
			f.Variable = f.Variable || a[i].Variable
			if a[i].Survives {
				a[i] = f
			}
			a[i].Variable = f.Variable
		}
	}
	return a
}

// because is a forecast in which some occasions take a fix back.
func because(why string, on ...string) []Fate {
	all := survives()
	for i := range all {
		if slices.Contains(on, all[i].On) {
			all[i].Survives, all[i].Why = false, why
		}
	}
	return all
}

// variable is a forecast in which a variable is needed on some occasions.
func variable(on ...string) []Fate {
	all := survives()
	for i := range all {
		all[i].Variable = slices.Contains(on, all[i].On)
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
	f := survives()
	switch {
	case always:
	case pod && d.Lost != "":
		f = variable(OnUpgrade)
	case pod:
	case component == node.Kubelet:
		f = variable(OnCluster, OnUpgrade, OnScale)
	default:
		f = variable(OnCluster, OnUpgrade)
	}
	d.Forecast = With(f, p.kept(d.Variables))
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
	for _, file := range d.Paths {
		d.Forecast = Worse(d.Forecast, p.fileForecast(file, want))
	}
}

// fileForecast is what becomes of mode or owner of one path. kubeadm's own files are
// root's and closed already.
func (p *planner) fileForecast(file string, want wantedMeta) []Fate {
	first, last := p.in.Facts.Kubespray.Ends()
	dirs := within(file, "/etc/kubernetes") || within(file, "/etc/cni/net.d")
	switch {
	case want.owner != "" && dirs:
		return With(variable(OnCluster, OnUpgrade, OnScale), p.kept(fileVariables([]string{file}, want)))
	case want.owner != "":
		return survives() // reset by nobody
	case path.Base(file) == "kubelet.service" && (first < 22 || last > 31):
		return because("Kubespray sets the mode of kubelet.service again in every run, and no variable changes that", OnCluster, OnUpgrade, OnScale)
	case path.Base(file) == "kubelet-config.yaml" && first < 23:
		return because("Kubespray before 2.23 sets the mode of kubelet-config.yaml again in every run, and no variable changes that", OnCluster, OnUpgrade, OnScale)
	case path.Ext(file) == ".crt" && want.mask&0o044 == 0:
		return because("kubeadm writes certificates with mode 0644 again when it renews them", OnUpgrade, OnRenewal)
	case within(file, "/etc/cni/net.d"):
		return because("the network's pods write their files anew when they start", OnCluster, OnUpgrade)
	case dirs && p.isDir(file):
		return because("Kubespray sets the mode of "+file+" to 0755 again in every run, and no variable changes that", OnCluster, OnUpgrade, OnScale)
	}
	return survives()
}

func (p *planner) isDir(file string) bool {
	st, err := p.ws.stat(file)
	return err == nil && st.dir
}
