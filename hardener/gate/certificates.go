package gate

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// dayLeft is what a certificate must be valid for at least.
const dayLeft = 24 * time.Hour

// certificateFlags are the flags that name a certificate which a component
// shows or trusts.
var certificateFlags = []string{
	"tls-cert-file", "kubelet-client-certificate", "proxy-client-cert-file", "etcd-certfile", "etcd-cafile",
	"client-ca-file", "requestheader-client-ca-file", "root-ca-file", "cluster-signing-cert-file",
}

// kubeconfigFlags name the kubeconfigs of controller manager and scheduler.
var kubeconfigFlags = []string{"kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"}

// certificatesValid looks at the certificates of the components in question, of
// the kubelet and of admin.conf. A process that runs may live on for long with a
// certificate that expired; one that starts does not.
func (f *fitness) certificatesValid(context.Context) error {
	now := time.Now()
	var errs []error
	for _, name := range staticPods(f.components) {
		c := f.at.facts.Components[name]
		for _, flag := range certificateFlags {
			if v, ok := node.FlagValue(c.Configured, flag); ok {
				if file, ok := c.HostPath(v); ok {
					errs = append(errs, f.certificateFile(file, now))
				}
			}
		}
		for _, flag := range kubeconfigFlags {
			if v, ok := node.FlagValue(c.Configured, flag); ok {
				if file, ok := c.HostPath(v); ok {
					errs = append(errs, f.kubeconfigCertificates(file, now))
				}
			}
		}
	}
	if file := f.at.facts.Components[node.Kubelet].Kubeconfig; file != "" {
		errs = append(errs, f.kubeconfigCertificates(file, now))
	}
	if file := f.adminConf(f.at.facts); file != "" {
		errs = append(errs, f.kubeconfigCertificates(file, now))
	}
	return errors.Join(once(errs)...)
}

// once drops errors that say the same: several flags name one file.
func once(errs []error) []error {
	var all []error
	for _, err := range errs {
		if err != nil && !slices.ContainsFunc(all, func(e error) bool { return e.Error() == err.Error() }) {
			all = append(all, err)
		}
	}
	return all
}

func (f *fitness) certificateFile(file string, now time.Time) error {
	data, err := fs.ReadFile(f.FS, node.Name(file))
	if err != nil {
		return err
	}
	return valid(file, data, now)
}

func (f *fitness) kubeconfigCertificates(file string, now time.Time) error {
	config, err := kubeconfig(f.FS, file)
	if err != nil {
		return err
	}
	var errs []error
	for _, data := range [][]byte{config.CertData, config.CAData} {
		if len(data) > 0 {
			errs = append(errs, valid(file, data, now))
		}
	}
	return errors.Join(errs...)
}

// valid judges the certificates of a PEM text: of authorities it is enough that
// one is valid, as bundles keep old ones; a certificate that is shown comes
// first in its file.
func valid(file string, data []byte, now time.Time) error {
	var failed error
	for n := 0; ; {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			if n == 0 {
				return fmt.Errorf("%s: holds no certificate", file)
			}
			return failed
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		n++
		err = nil
		switch at := c.NotAfter.Format(time.RFC3339); {
		case now.Before(c.NotBefore):
			err = fmt.Errorf("%s: is valid only from %s", file, c.NotBefore.Format(time.RFC3339))
		case now.After(c.NotAfter):
			err = fmt.Errorf("%s: expired at %s", file, at)
		case now.Add(dayLeft).After(c.NotAfter):
			err = fmt.Errorf("%s: expires at %s, within a day", file, at)
		}
		if err == nil || !c.IsCA && n == 1 {
			return err
		}
		failed = err
	}
}

// renewalTimer is Kubespray's, where auto_renew_certificates is set
// (roles/kubernetes/control-plane, k8s-certs-renew.timer.j2). Its script removes
// every control plane sandbox of the node at once.
const renewalTimer = "k8s-certs-renew.timer"

// renewalSoon is how close the renewal must not be.
const renewalSoon = 30 * time.Minute

// renewalNotDue refuses to begin shortly before certificates are renewed. A
// calendar that is not understood is only told.
func (f *fitness) renewalNotDue(context.Context) error {
	unit, err := node.ReadUnit(f.FS, renewalTimer)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	// The host's clock, whatever the time zone of this process.
	now := time.Now()
	if data, err := fs.ReadFile(f.FS, "etc/localtime"); err == nil {
		if zone, err := time.LoadLocationFromTZData("host", data); err == nil {
			now = now.In(zone)
		}
	}
	for _, calendar := range unit.Values("Timer", "OnCalendar") {
		at, soon, err := within(calendar, now, renewalSoon)
		if err != nil {
			f.log("fit: %s: %v", renewalTimer, err)
		} else if soon {
			return fmt.Errorf("%s is due at %s", renewalTimer, at.Format("15:04"))
		}
	}
	return nil
}

// within tells whether a calendar event comes about between a moment and a
// while later. It understands systemd.time(7)'s "DAYS YEAR-MONTH-DAY H:M:S" with
// lists, ranges and stars, which is what Kubespray writes ("Mon
// *-*-1,2,3,4,5,6,7 03:00:00"); seconds do not count.
func within(calendar string, from time.Time, d time.Duration) (time.Time, bool, error) {
	words := strings.Fields(calendar)
	days := ""
	if len(words) == 3 {
		days, words = words[0], words[1:]
	}
	unknown := fmt.Errorf("OnCalendar=%s is not understood", calendar)
	if len(words) != 2 {
		return time.Time{}, false, unknown
	}
	date, clock := strings.Split(words[0], "-"), strings.Split(words[1], ":")
	if len(date) != 3 || len(clock) < 2 || len(clock) > 3 {
		return time.Time{}, false, unknown
	}
	for at := from.Truncate(time.Minute); !at.After(from.Add(d)); at = at.Add(time.Minute) {
		all := true
		for _, part := range []struct {
			spec  string
			value int
		}{
			{date[0], at.Year()}, {date[1], int(at.Month())}, {date[2], at.Day()},
			{clock[0], at.Hour()}, {clock[1], at.Minute()}, {days, int(at.Weekday()+6) % 7},
		} {
			ok, err := among(part.spec, part.value)
			if err != nil {
				return time.Time{}, false, unknown
			}
			all = all && ok
		}
		if all {
			return at, true, nil
		}
	}
	return time.Time{}, false, nil
}

// among tells whether a value is in a list of numbers, days of the week and
// ranges ("1,3..5", "Mon..Fri"); empty and a star are everything.
func among(spec string, value int) (bool, error) {
	if spec == "" || spec == "*" {
		return true, nil
	}
	for _, item := range strings.Split(spec, ",") {
		first, last, isRange := strings.Cut(item, "..")
		from, err := number(first)
		if err != nil {
			return false, err
		}
		to := from
		if isRange {
			if to, err = number(last); err != nil {
				return false, err
			}
		}
		if from <= value && value <= to {
			return true, nil
		}
	}
	return false, nil
}

func number(s string) (int, error) {
	if len(s) >= 3 {
		if i := slices.Index([]string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"}, strings.ToLower(s[:3])); i >= 0 {
			return i, nil
		}
	}
	return strconv.Atoi(s)
}
