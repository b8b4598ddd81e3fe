package rollout

import (
	"fmt"
	"strings"
)

// Destination is the ConfigMap that a node's Job writes its report to.
type Destination struct{ Namespace, Name string }

// String is the form that the flag --report-to takes.
func (d Destination) String() string { return "configmap/" + d.Namespace + "/" + d.Name }

// ParseDestination reads "configmap/NAMESPACE/NAME".
func ParseDestination(s string) (Destination, error) {
	part := strings.Split(s, "/")
	if len(part) != 3 || part[0] != "configmap" || part[1] == "" || part[2] == "" {
		return Destination{}, fmt.Errorf("%q: want configmap/NAMESPACE/NAME", s)
	}
	return Destination{part[1], part[2]}, nil
}
