package gate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// cluster is an etcd cluster as its members told of it. IDs are etcd's own, in
// decimal.
type cluster struct {
	members int
	leader  string // member ID
	own     string // ID of the member of this node
	term    uint64 // of raft, the same on every member

	indexes map[string]uint64 // raft index by member ID
	voters  []string          // member IDs
}

// healthy asks every member, twice: all are healthy, with one leader and one
// term, none has an alarm, and each gets to where the furthest was at first.
func (m *members) healthy(ctx context.Context) (cluster, error) {
	first, err := m.look(ctx)
	if err != nil {
		return first, err
	}
	furthest := uint64(0)
	for _, index := range first.indexes {
		furthest = max(furthest, index)
	}
	ctx, cancel := context.WithTimeout(ctx, m.limits.CatchUp+m.limits.Request)
	defer cancel()
	for began := time.Now(); ; {
		now, err := m.look(ctx)
		if err != nil {
			return now, err
		}
		behind := ""
		for id, index := range now.indexes {
			if index < furthest {
				behind = fmt.Sprintf("member %s is behind, at index %d, others were at %d", id, index, furthest)
			}
		}
		if behind == "" {
			return now, nil
		}
		if time.Since(began) > m.limits.CatchUp {
			return now, errors.New(behind)
		}
		if err := sleep(ctx, m.limits.Poll/2); err != nil {
			return now, err
		}
	}
}

// look asks every member once.
func (m *members) look(ctx context.Context) (cluster, error) {
	s := cluster{indexes: map[string]uint64{}}
	own, err := m.status(ctx, m.own)
	if err != nil {
		return s, err
	}
	s.own, s.leader, s.term = own.Header.MemberID, own.Leader, own.RaftTerm
	all, err := m.list(ctx)
	if err != nil {
		return s, err
	}
	s.members = len(all)
	var faults []string
	for _, one := range all {
		fault := func(format string, args ...any) {
			faults = append(faults, fmt.Sprintf("member %s (%s): %s", one.Name, one.ID, fmt.Sprintf(format, args...)))
		}
		base, is := m.own, own
		if one.ID != s.own {
			if len(one.ClientURLs) == 0 {
				fault("was added and has not started")
				continue
			}
			base = strings.TrimSuffix(one.ClientURLs[0], "/")
			if is, err = m.status(ctx, base); err != nil {
				fault("%v", err)
				continue
			}
		}
		if !one.IsLearner { // which serves no reads and so is never healthy
			s.voters = append(s.voters, one.ID)
			if err := m.health(ctx, base); err != nil {
				fault("%v", err)
			}
		}
		s.indexes[one.ID] = is.RaftIndex
		switch {
		case is.Header.MemberID != one.ID:
			fault("%s answers as member %s", base, is.Header.MemberID)
		case is.Leader == "" || is.Leader == "0":
			fault("knows no leader")
		case is.Leader != s.leader || is.RaftTerm != s.term:
			fault("has leader %s in term %d, and member %s has leader %s in term %d", is.Leader, is.RaftTerm, s.own, s.leader, s.term)
		case len(is.Errors) > 0:
			fault("%s", strings.Join(is.Errors, ", "))
		}
	}
	alarms, err := m.alarms(ctx)
	if err != nil {
		return s, err
	}
	for _, a := range alarms {
		faults = append(faults, "alarm "+a)
	}
	if len(faults) > 0 {
		return s, errors.New(strings.Join(faults, "; "))
	}
	return s, nil
}

// successor is the voter that lags least behind, "" when there is none but the
// leader.
func (s cluster) successor() string {
	best := ""
	for _, id := range s.voters {
		if id != s.leader && (best == "" || s.indexes[id] > s.indexes[best]) {
			best = id
		}
	}
	return best
}
