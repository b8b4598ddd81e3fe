package kubespray

import "fmt"

// User is a system user with its primary group.
type User struct {
	Name, Group          string
	UID, GID             int
	Comment, Home, Shell string
}

// The system users of roles/adduser. useradd takes the highest free ids below
// 1000; these are below what Debian's packages take, so that files written from
// outside a node have the right owner.
var (
	kube = User{
		Name: "kube", Group: "kube-cert", UID: 990, GID: 990,
		Comment: "Kubernetes user", Home: "/home/kube", Shell: "/sbin/nologin",
	}
	etcd = User{
		Name: "etcd", Group: "etcd", UID: 989, GID: 989,
		Comment: "Etcd user", Home: "/home/etcd", Shell: "/sbin/nologin",
	}
)

// Users returns the users that Kubespray adds to a node: kube everywhere, etcd
// where the etcd role runs. Their homes are never created.
func (c *Cluster) Users(node string) ([]User, error) {
	n, err := c.node(node)
	if err != nil {
		return nil, err
	}
	if n.Roles.Has(Etcd | ControlPlane) {
		return []User{kube, etcd}, nil
	}
	return []User{kube}, nil
}

// Passwd is the user's line of /etc/passwd, with its end.
func (u User) Passwd() string {
	return fmt.Sprintf("%s:x:%d:%d:%s:%s:%s\n", u.Name, u.UID, u.GID, u.Comment, u.Home, u.Shell)
}

// Shadow is the user's line of /etc/shadow, with its end: no password.
func (u User) Shadow() string { return u.Name + ":!:20000::::::\n" }

// GroupLine is the line of the user's group in /etc/group, with its end.
func (u User) GroupLine() string { return fmt.Sprintf("%s:x:%d:\n", u.Group, u.GID) }

// GShadow is the line of the user's group in /etc/gshadow, with its end.
func (u User) GShadow() string { return u.Group + ":!::\n" }
