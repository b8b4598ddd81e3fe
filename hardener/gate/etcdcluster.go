package gate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// EtcdState is a healthy etcd cluster, as EtcdHealthy found it. IDs are etcd's
// own, in decimal.
type EtcdState struct {
	Members int
	Leader  string // member ID
	Own     string // ID of the member of this node
	Term    uint64 // of raft, the same on every member
	Version string // of the member of this node, "3.6.5"

	indexes map[string]uint64 // raft index by member ID
	voters  []string          // member IDs
}

// etcdCatchUp is how long a member may take to get to where another was a moment
// ago. A cluster in use never has all members at the same index.
const etcdCatchUp = 10 * time.Second

// healthy asks every member, twice: all are healthy, with one leader and one
// term, none has an alarm, and each gets to where the furthest was at first.
func (c *etcdClient) healthy(ctx context.Context) (EtcdState, error) {
	first, err := c.look(ctx)
	if err != nil {
		return first, err
	}
	furthest := uint64(0)
	for _, index := range first.indexes {
		furthest = max(furthest, index)
	}
	ctx, cancel := context.WithTimeout(ctx, etcdCatchUp+plainTimeout)
	defer cancel()
	for began := time.Now(); ; {
		now, err := c.look(ctx)
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
		if time.Since(began) > etcdCatchUp {
			return now, errors.New(behind)
		}
		select {
		case <-ctx.Done():
			return now, context.Cause(ctx)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// look asks every member once.
func (c *etcdClient) look(ctx context.Context) (EtcdState, error) {
	s := EtcdState{indexes: map[string]uint64{}}
	own, err := c.status(ctx, c.own)
	if err != nil {
		return s, err
	}
	s.Own, s.Leader, s.Term, s.Version = own.Header.MemberID, own.Leader, own.RaftTerm, own.Version
	members, err := c.members(ctx)
	if err != nil {
		return s, err
	}
	s.Members = len(members)
	var faults []string
	for _, m := range members {
		fault := func(format string, args ...any) {
			faults = append(faults, fmt.Sprintf("member %s (%s): %s", m.Name, m.ID, fmt.Sprintf(format, args...)))
		}
		base, is := c.own, own
		if m.ID != s.Own {
			if len(m.ClientURLs) == 0 {
				fault("was added and has not started")
				continue
			}
			base = strings.TrimSuffix(m.ClientURLs[0], "/")
			if is, err = c.status(ctx, base); err != nil {
				fault("%v", err)
				continue
			}
		}
		if !m.IsLearner { // which serves no reads and so is never healthy
			s.voters = append(s.voters, m.ID)
			if err := c.health(ctx, base); err != nil {
				fault("%v", err)
			}
		}
		s.indexes[m.ID] = is.RaftIndex
		switch {
		case is.Header.MemberID != m.ID:
			fault("%s answers as member %s", base, is.Header.MemberID)
		case is.Leader == "" || is.Leader == "0":
			fault("knows no leader")
		case is.Leader != s.Leader || is.RaftTerm != s.Term:
			fault("has leader %s in term %d, and member %s has leader %s in term %d", is.Leader, is.RaftTerm, s.Own, s.Leader, s.Term)
		case len(is.Errors) > 0:
			fault("%s", strings.Join(is.Errors, ", "))
		}
	}
	alarms, err := c.alarms(ctx)
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
func (s EtcdState) successor() string {
	best := ""
	for _, id := range s.voters {
		if id != s.Leader && (best == "" || s.indexes[id] > s.indexes[best]) {
			best = id
		}
	}
	return best
}
