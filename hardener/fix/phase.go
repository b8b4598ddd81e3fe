package fix

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
)

// Phase is one node's part of a step across nodes: what is safe only once every
// other node has got equally far. Whoever makes a phase on one node has to know
// that; package rollout does.
type Phase string

// The phases of kubelet serving certificates, in their order. Undone, they go the
// other way: an API server must not ask for what kubelets do not have any more.
const (
	// ServingKubelet has the kubelet ask the cluster for its serving certificate.
	ServingKubelet Phase = "serving-certificates:kubelet"
	// ServingVerify changes nothing: this control plane looks at every kubelet.
	ServingVerify Phase = "serving-certificates:verify"
	// ServingAPIServer has the API server ask kubelets for a certificate of the cluster.
	ServingAPIServer Phase = "serving-certificates:apiserver"

	ServingUndoAPIServer Phase = "serving-certificates:undo-apiserver"
	ServingUndoKubelet   Phase = "serving-certificates:undo-kubelet"
)

// Phases are all of them.
func Phases() []Phase {
	return []Phase{
		ServingKubelet, ServingVerify, ServingAPIServer, ServingUndoAPIServer, ServingUndoKubelet,
		EncryptionLook, EncryptionRead, EncryptionWrite, EncryptionRewrite, EncryptionUndoWrite, EncryptionUndoRewrite, EncryptionUndoRead,
	}
}

// makePhase plans a phase and nothing else. What is decided about findings is
// what the node's own fix would do, but for those that the phase answers.
func makePhase(in Input) (Plan, error) {
	if !slices.Contains(Phases(), in.Phase) {
		return Plan{}, fmt.Errorf("fix: unknown phase %q", in.Phase)
	}
	usual := in
	usual.Phase = ""
	was, err := Make(usual)
	if err != nil {
		return Plan{}, err
	}
	in.Failed = nil
	p := newPlanner(in)
	p.plan.Decisions = was.Decisions
	for key, d := range was.Decisions {
		if d.State == Planned {
			d.State, d.Reason, d.Diff, d.Paths = Refused, joinReason("not in this phase", d.Reason), "", nil
			p.plan.Decisions[key] = d
		}
	}
	tx := p.ws.clone()
	if err := p.phase(tx); err != nil {
		return Plan{}, fmt.Errorf("phase %s: %w", in.Phase, err)
	}
	p.ws = tx
	p.group()
	for i, g := range p.plan.Groups {
		if g.Refused != "" { // left out, the others would go on without it
			return Plan{}, fmt.Errorf("phase %s: %s: %s", in.Phase, g.Component, g.Refused)
		}
		p.plan.Groups[i].Risk = RiskCluster
	}
	return p.plan, nil
}

func (p *planner) phase(tx *workspace) error {
	switch p.in.Phase {
	case ServingKubelet:
		return p.servingKubelet(tx, true)
	case ServingUndoKubelet:
		return p.servingKubelet(tx, false)
	case ServingAPIServer:
		return p.servingAPIServer(tx, true)
	case ServingUndoAPIServer:
		return p.servingAPIServer(tx, false)
	case ServingVerify:
		return nil
	}
	return p.encrypt(tx)
}

// servingBootstrap is the setting by which a kubelet asks for its certificate.
var servingBootstrap = profile.Setting{Component: node.Kubelet, Kind: profile.Flag, Name: "rotate-server-certificates", Path: "serverTLSBootstrap"}

// servingKubelet switches serverTLSBootstrap. A certificate of an operator's own
// stays: beside it the kubelet would not ask for one (pkg/kubelet/certificate,
// cmd/kubelet/app/server.go InitializeTLS).
func (p *planner) servingKubelet(tx *workspace, on bool) error {
	comp, ok := p.in.Facts.Components[node.Kubelet]
	if !ok {
		return errors.New("no kubelet on this node")
	}
	k, err := openKubelet(tx, comp)
	if err != nil {
		return err
	}
	for _, s := range []profile.Setting{{Name: "tls-cert-file", Path: "tlsCertFile"}, {Name: "tls-private-key-file", Path: "tlsPrivateKeyFile"}} {
		if file, set := k.get(s); on && set && file != "" {
			return fmt.Errorf("%s is %s: a certificate of the operator's own, which the cluster's would not replace", s.Path, file)
		}
	}
	value, _ := k.get(servingBootstrap)
	if now, _ := strconv.ParseBool(value); now == on {
		return nil
	}
	// Off, it keeps a kubelet that is to ask for its certificate from starting.
	gate := profile.Setting{Component: node.Kubelet, Name: "RotateKubeletServerCertificate", Path: featureGates + "RotateKubeletServerCertificate"}
	if value, set := k.get(gate); on && set && value != "true" {
		if err := k.set(gate, "true"); err != nil {
			return fmt.Errorf("%s: %w", k.file(), err)
		}
	}
	if err := k.set(servingBootstrap, strconv.FormatBool(on)); err != nil {
		return fmt.Errorf("%s: %w", k.file(), err)
	}
	return p.write(tx, node.Kubelet, k)
}

const kubeletAuthority = "kubelet-certificate-authority"

// servingAPIServer switches --kubelet-certificate-authority. The authority is the
// one that clients are known by: kubeadm's, which signs what kubelets ask for too.
// That it has signed what they serve is for a gate to find out.
func (p *planner) servingAPIServer(tx *workspace, on bool) error {
	comp, ok := p.in.Facts.Components[node.APIServer]
	if !ok || comp.Manifest == "" {
		return errors.New("no API server with a manifest on this node")
	}
	pod, err := openPod(tx, node.APIServer, comp.Manifest)
	if err != nil {
		return err
	}
	now, set := pod.flag(kubeletAuthority)
	switch {
	case on == (set && now != ""):
		return nil
	case !on:
		pod.change.flags[kubeletAuthority] = nil
		return p.write(tx, node.APIServer, pod)
	}
	file, set := pod.flag("client-ca-file")
	if !set {
		return errors.New("--client-ca-file is not set: which authority is the cluster's cannot be told")
	}
	host, _, ok := pod.hostPath(file)
	if !ok {
		return fmt.Errorf("%s is in no directory of the host", file)
	}
	data, err := tx.read(host)
	if err != nil {
		return err
	}
	if err := authority(data); err != nil {
		return fmt.Errorf("%s: %w", host, err)
	}
	pod.setFlag(kubeletAuthority, file)
	return p.write(tx, node.APIServer, pod)
}

// authority wants a file to begin with the certificate of an authority.
func authority(data []byte) error {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE" {
		return errors.New("it holds no certificate")
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err == nil && !c.IsCA {
		err = errors.New("its certificate is not that of an authority")
	}
	return err
}

// write has a place write what was set, and names the findings that this answers.
func (p *planner) write(tx *workspace, component string, at place) error {
	if why := p.refuseFlags(component, at); why != "" {
		return errors.New(why)
	}
	before := tx.clone()
	if err := at.apply(tx); err != nil {
		return fmt.Errorf("%s: %w", at.file(), err)
	}
	for _, path := range tx.changed(before) {
		e := tx.edits[path]
		for _, f := range p.in.Findings {
			key := Key(f.Target, f.Check.ID)
			for _, s := range f.Check.Settings() {
				if s.Component != component || !p.answers(s) || slices.Contains(e.checks, key) {
					continue
				}
				e.checks = append(slices.Clone(e.checks), key)
				d := p.plan.Decisions[key]
				d.State, d.Risk, d.Reason = Planned, RiskCluster, fmt.Sprintf("phase %s", p.in.Phase)
				p.plan.Decisions[key] = d
			}
		}
		tx.edits[path] = e
	}
	return nil
}

// answers reports whether a setting is what the phase brings in.
func (p *planner) answers(s profile.Setting) bool { return slices.Contains(brings[p.in.Phase], s.Name) }

// brings are the settings, by profile.Setting.Name, that a phase is there for.
var brings = map[Phase][]string{
	ServingKubelet:   {"tls-cert-file", "tls-private-key-file"},
	ServingAPIServer: {kubeletAuthority},
	EncryptionWrite:  {encryptionFlag, "provider"},
}

// undoes are the phases that take others back.
var undoes = map[Phase]Phase{ServingUndoKubelet: ServingKubelet, ServingUndoAPIServer: ServingAPIServer, EncryptionUndoWrite: EncryptionWrite, EncryptionUndoRead: EncryptionWrite}

// GivesUp reports whether a check may fail after a phase though it passed before,
// because the phase takes back what it asks for.
func (p Phase) GivesUp(c *profile.Check) bool {
	return slices.ContainsFunc(c.Settings(), func(s profile.Setting) bool { return slices.Contains(brings[undoes[p]], s.Name) })
}
