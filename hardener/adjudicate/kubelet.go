package adjudicate

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// setting is the value that counts of the subject's component: the flag, which
// overrides the configuration file (kubelet cmd/kubelet/app/server.go), else
// the field; empty when neither is set. The second result is the evidence.
func (x *inquiry) setting(flag string, field ...string) (value, evidence string) {
	if flag != "" {
		if value, set := x.own(flag); set {
			evidence = x.ownEvidence(flag)
			if _, also := x.kubeletField(field...); also && x.subject.component == node.Kubelet {
				evidence += " (overrides " + strings.Join(field, ".") + " of the configuration file)"
			}
			return value, evidence
		}
	}
	if x.subject.component != node.Kubelet {
		return "", x.ownEvidence(flag)
	}
	value, _ = x.kubeletField(field...)
	return value, x.fieldEvidence(field)
}

// fieldEvidence says what the kubelet's configuration file has.
func (x *inquiry) fieldEvidence(field []string) string {
	file := x.facts.Components[node.Kubelet].Config
	value, set := x.kubeletField(field...)
	switch {
	case file == "":
		return "the kubelet has no configuration file, so " + strings.Join(field, ".") + " is not set"
	case !set:
		return fmt.Sprintf("%s: %s is not set", file, strings.Join(field, "."))
	}
	return fmt.Sprintf("%s: %s: %s", file, strings.Join(field, "."), value)
}

// kubeletField is a field of the kubelet's configuration file; lists are joined
// by commas.
func (x *inquiry) kubeletField(field ...string) (string, bool) {
	doc, ok := x.document(x.facts.Components[node.Kubelet].Config)
	if !ok || len(field) == 0 {
		return "", false
	}
	if items := doc.strings(field...); items != nil {
		return strings.Join(items, ","), true
	}
	return doc.text(field...)
}

// kubeletHasConfig tells whether the kubelet is started with a configuration
// file that can be read: its defaults then apply, not those of the flags.
func (x *inquiry) kubeletHasConfig() bool {
	doc, ok := x.document(x.facts.Components[node.Kubelet].Config)
	if !ok || x.known[node.Kubelet] == nil {
		return false
	}
	kind, _ := doc.text("kind")
	return kind == "KubeletConfiguration"
}

// kubeletDefault passes a field that is not set although the file's default is
// what the benchmark wants (kubelet configuration v1beta1 reference).
func kubeletDefault(x *inquiry, flag string, standard string, field ...string) (Verdict, bool) {
	value, where := x.setting(flag, field...)
	if value != "" || !x.kubeletHasConfig() || x.dropIns() || x.truth.State == check.Pass {
		return undecided()
	}
	return x.pass(fmt.Sprintf("%s is %s by default in a kubelet configuration file", strings.Join(field, "."), standard), where)
}

func kubeletAnonymous(x *inquiry) (Verdict, bool) {
	return kubeletDefault(x, "anonymous-auth", "false", "authentication", "anonymous", "enabled")
}

func kubeletAuthorization(x *inquiry) (Verdict, bool) {
	return kubeletDefault(x, "authorization-mode", "Webhook", "authorization", "mode")
}

// mergedElsewhere answers for a setting that a drop-in file of the kubelet's
// configuration sets: the audit reads only the main file, so its PASS says
// nothing. A flag overrides both.
func (x *inquiry) mergedElsewhere(flag string, field string) (Verdict, bool) {
	dir, set := x.flag(node.Kubelet, "config-dir")
	if _, byFlag := x.flag(node.Kubelet, flag); !set || byFlag || field == "" || x.truth.State != check.Pass {
		return undecided()
	}
	entries, err := fs.ReadDir(x.fsys, node.Name(dir))
	if err != nil {
		return undecided()
	}
	for _, e := range slices.Backward(entries) {
		file := path.Join(dir, e.Name())
		doc, ok := x.document(file)
		if !ok || !strings.HasSuffix(file, ".conf") {
			continue
		}
		if value, ok := doc.text(strings.Split(field, ".")...); ok {
			return Verdict{State: check.Warn, Reason: "the kubelet merges a drop-in over its configuration file, which the audit does not read",
				Evidence: []string{x.flagEvidence(node.Kubelet, "config-dir"), fmt.Sprintf("%s: %s: %s", file, field, value)}}, true
		}
	}
	return undecided()
}

// dropIns tells whether the kubelet merges further files over its configuration
// file (--config-dir, beta since 1.30), which no rule here reads.
func (x *inquiry) dropIns() bool {
	_, set := x.flag(node.Kubelet, "config-dir")
	return set
}

// readOnlyPort: not set means closed only in a configuration file; the default
// of the flag is 10255 (cmd/kubelet/app/options, applyLegacyDefaults).
func readOnlyPort(x *inquiry) (Verdict, bool) {
	value, where := x.setting("read-only-port", "readOnlyPort")
	if value != "" || x.truth.State != check.Pass || x.known[node.Kubelet] == nil {
		return undecided()
	}
	if _, config := x.own("config"); config || x.facts.Components[node.Kubelet].Config != "" {
		return undecided()
	}
	return x.bad("a kubelet without configuration file serves the read-only port 10255 unless told otherwise", where, x.ownEvidence("read-only-port"))
}

// streamingTimeout: kube-bench compares the text with 0, but 0s is no timeout
// either. In the configuration file zero means the default of four hours.
func streamingTimeout(x *inquiry) (Verdict, bool) {
	value, set := x.own("streaming-connection-idle-timeout")
	d, err := time.ParseDuration(value)
	if !set || err != nil || d != 0 || x.truth.State != check.Pass {
		return undecided()
	}
	return x.bad("a timeout of zero never ends idle connections", x.ownEvidence("streaming-connection-idle-timeout"))
}

// eventQPS: 0 does not mean unlimited. The kubelet then leaves the rate to
// client-go, whose default of 5 a second is below the kubelet's own of 50
// (k/k #117101); any positive rate is a choice.
func eventQPS(x *inquiry) (Verdict, bool) {
	value, where := x.setting("event-qps", "eventRecordQPS")
	if value == "" {
		if x.truth.State == check.Pass || !x.kubeletHasConfig() || x.dropIns() {
			return undecided()
		}
		return x.pass("the default rate of events is positive", where)
	}
	n, err := strconv.Atoi(value)
	switch {
	case err != nil || n < 0:
		return undecided()
	case n == 0:
		return x.bad("0 does not mean unlimited: the kubelet falls back to 5 events a second, below its default of 50", where)
	case x.truth.State != check.Pass:
		return x.pass("events are captured at a positive rate; the 0 that the benchmark asks for would lower it to 5 a second", where)
	}
	return undecided()
}

// servingCertificate: with serverTLSBootstrap the cluster issues the serving
// certificate and the kubelet rotates it; static files would end that.
func servingCertificate(x *inquiry) (Verdict, bool) {
	if x.truth.State == check.Pass {
		return undecided()
	}
	value, where := x.setting("rotate-server-certificates", "serverTLSBootstrap")
	dir, _ := x.own("cert-dir")
	if dir == "" {
		dir = "/var/lib/kubelet/pki"
	}
	file := path.Join(dir, "kubelet-server-current.pem")
	if value != "true" || !x.exists(file) || x.dropIns() {
		return undecided()
	}
	return x.pass("the serving certificate is issued by the cluster and rotated, so no files are to be set", where, file+": exists")
}

// podPids: kube-bench asks for presence only, and -1, Kubespray's default, is
// no limit.
func podPids(x *inquiry) (Verdict, bool) {
	value, where := x.setting("pod-max-pids", "podPidsLimit")
	n, err := strconv.ParseInt(value, 10, 64)
	if value == "" || err == nil && n > 0 {
		return undecided()
	}
	return x.bad("only a positive number limits the processes of a pod", where)
}

// seccompDefault: kube-bench asks for presence only.
func seccompDefault(x *inquiry) (Verdict, bool) {
	value, where := x.setting("seccomp-default", "seccompDefault")
	if value == "" || strings.EqualFold(value, "true") {
		return undecided()
	}
	return x.bad("seccompDefault is set, but not to true", where)
}

// ipAddressDeny: no setting of the kubelet but one of its systemd unit
// (systemd.resource-control(5)). An empty assignment clears the list.
func ipAddressDeny(x *inquiry) (Verdict, bool) {
	c := x.facts.Components[node.Kubelet]
	if c.Unit == "" {
		return undecided()
	}
	var denied []string
	var where string
	for _, file := range append([]string{c.Unit}, c.DropIns...) {
		b, ok := x.read(file)
		if !ok {
			continue
		}
		section := ""
		for line := range strings.SplitSeq(string(b), "\n") {
			line = strings.TrimSpace(line)
			if strings.HasPrefix(line, "[") {
				section = line
			}
			key, value, ok := strings.Cut(line, "=")
			if !ok || section != "[Service]" || strings.TrimSpace(key) != "IPAddressDeny" {
				continue
			}
			if value = strings.TrimSpace(value); value == "" {
				denied = nil
			}
			denied = append(denied, strings.Fields(value)...)
			where = file + ": " + line
		}
	}
	if slices.Contains(denied, "any") {
		return x.pass("IPAddressDeny is a setting of the kubelet's unit, where it is any", where)
	}
	if where == "" {
		where = c.Unit + ": no IPAddressDeny in the unit or its drop-ins"
	}
	return x.bad("IPAddressDeny is a setting of the kubelet's unit, where it is not any", where)
}

// kubeletConfigFile: a kubelet without --config has no such file.
func kubeletConfigFile(x *inquiry) (Verdict, bool) {
	if x.known[node.Kubelet] == nil || x.facts.Components[node.Kubelet].Config != "" {
		return undecided()
	}
	if _, set := x.own("config"); set {
		return undecided()
	}
	return x.notApplicable("the kubelet is started without a configuration file", x.ownEvidence("config"))
}
