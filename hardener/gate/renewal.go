package gate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

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
