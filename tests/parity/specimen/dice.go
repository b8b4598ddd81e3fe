package specimen

import (
	"math/rand/v2"
	"strings"
)

// dice is the only source of chance, so that a seed tells the whole node.
type dice struct {
	*rand.Rand
	tidy bool // a well-kept node: few checks about files fail
}

func newDice(seed uint64) dice {
	d := dice{Rand: rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15))}
	d.tidy = d.chance(40)
	return d
}

// chance is true in percent of a hundred throws.
func (d dice) chance(percent int) bool { return d.IntN(100) < percent }

func (d dice) pick(from ...string) string { return from[d.IntN(len(from))] }

// some are about half of the values, in random order when shuffled.
func (d dice) some(from ...string) []string {
	var out []string
	for _, s := range from {
		if d.chance(50) {
			out = append(out, s)
		}
	}
	if d.chance(30) {
		d.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	}
	return out
}

// list is a comma-separated list of some values, with the slips people make.
func (d dice) list(from ...string) string {
	s := strings.Join(d.some(from...), ",")
	switch d.IntN(20) {
	case 0:
		s += ","
	case 1:
		s = "," + s
	case 2:
		s = strings.ReplaceAll(s, ",", ", ")
	case 3:
		s = strings.ToLower(s)
	case 4:
		s += ",," + from[0]
	case 5:
		s = `"` + s + `"`
	}
	return s
}

// word is a value of a switch: mostly true or false, in some casing.
func (d dice) word() string {
	if d.chance(80) {
		return d.pick("true", "false", "True", "False", "TRUE", "FALSE", "false", "true")
	}
	return d.pick("", "0", "1", "t", "f", "yes", "no", `"true"`, "'false'", "false,", "tRuE", "enabled")
}

// number is a value of a numeric setting around what the checks want.
func (d dice) number(around ...string) string {
	if d.chance(75) {
		return d.pick(around...)
	}
	return d.pick("0", "030", "+5", "-1", "1e6", "10.0", "5m", "0s", "", "0x1f", "1_000", "99999999999999999999", "007", "30 ", "٣", `"100"`)
}

func (d dice) mode() uint32 {
	if d.tidy && d.chance(92) {
		return []uint32{0o600, 0o400}[d.IntN(2)]
	}
	if d.chance(70) {
		return []uint32{0o600, 0o644, 0o640, 0o400, 0o700, 0o755}[d.IntN(6)]
	}
	return []uint32{0o777, 0, 0o4600, 0o2755, 0o1777, 0o664, 0o444, 0o7777, 0o660, 0o004, 0o611, 0o4644}[d.IntN(12)]
}

// owner is a user and group: root mostly, else one of the node's or nobody it
// knows.
func (d dice) owner() (uid, gid int) {
	if d.chance(70) || d.tidy && d.chance(85) {
		return 0, 0
	}
	uids := []int{0, 0, etcdUID, kubeUID, 65534, 12345, 1000}
	gids := []int{0, 0, etcdUID, kubeUID, 65534, 54321, 1000}
	return uids[d.IntN(len(uids))], gids[d.IntN(len(gids))]
}
