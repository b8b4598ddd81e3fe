package gate

import (
	"testing"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

func TestWithin(t *testing.T) {
	monday := time.Date(2026, 12, 7, 2, 45, 30, 0, time.UTC)
	for _, c := range []struct {
		calendar  string
		from      time.Time
		soon, bad bool
	}{
		{"Mon *-*-1,2,3,4,5,6,7 03:00:00", monday, true, false},
		{"Mon *-*-1..7 03:00:00", monday, true, false},
		{"Mon *-*-1..7 03:20:00", monday, false, false},
		{"Mon *-*-1..6 03:00:00", monday, false, false},
		{"Tue..Sun *-*-* 03:00:00", monday, false, false},
		{"*-*-* 03:00", monday, true, false},
		{"2026-12-07 03:00:00", monday, true, false},
		{"2027-12-07 03:00:00", monday, false, false},
		{"Mon *-*-1..7 03:00:00", monday.Add(time.Hour), false, false},
		{"daily", monday, false, true},
		{"Mon *-*-1/2 03:00:00", monday, false, true},
	} {
		_, soon, err := within(c.calendar, c.from, renewalSoon)
		if soon != c.soon || (err != nil) != c.bad {
			t.Errorf("%s from %s: %v, %v", c.calendar, c.from, soon, err)
		}
	}
}

func TestRenewalNotDue(t *testing.T) {
	t.Parallel()
	w := newWorld(t, node.APIServer)
	f := fitnessOf(w)
	wants(t, f.renewalNotDue(t.Context()))
	w.write("etc/systemd/system/k8s-certs-renew.timer", "[Timer]\nOnCalendar=*-*-* *:*:00\n")
	wants(t, f.renewalNotDue(t.Context()), "k8s-certs-renew.timer is due at")
	w.write("etc/systemd/system/k8s-certs-renew.timer", "[Timer]\nOnCalendar=monthly\n")
	wants(t, f.renewalNotDue(t.Context()))
}
