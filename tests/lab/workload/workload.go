// Package workload fills a cluster with what the policies checks look at, of
// such mixed quality as a cluster has that many teams use: careful namespaces
// beside careless ones, roles that are too wide, service accounts of every kind.
//
// The pods name a scheduler that does not exist, so they stay pending and cost
// the nodes nothing. It leaves to others whose cluster it is (package lab) and
// what the checks make of it.
package workload

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// Label marks every object that Populate makes, the namespaces too.
const Label = "kubespray-hardener.test/workload"

const selector = Label + "=true"

// Size is how much to make. The same size with the same seed is the same content.
type Size struct {
	Namespaces      int // besides default; at least 1
	Pods            int
	Roles           int // Roles and ClusterRoles together, each with a binding
	ServiceAccounts int // besides the one called default in each namespace
	Seed            uint64
}

// Mixed is the content that policies are compared on.
var Mixed = Size{Namespaces: 24, Pods: 220, Roles: 120, ServiceAccounts: 60, Seed: 1}

// Counts are how many objects of a kind a cluster has, whoever made them.
type Counts struct {
	Pods, Roles, ServiceAccounts int // Roles and ClusterRoles together
}

// parallel is how many requests are on their way at once; an API server queues
// more than that anyway.
const parallel = 24

// Populate makes the content and counts what the cluster then has. The client
// should have no rate limit of its own (rest.Config.QPS below 0).
func Populate(ctx context.Context, client kubernetes.Interface, size Size) (Counts, error) {
	if size.Namespaces < 1 {
		return Counts{}, errors.New("workload: a size needs at least one namespace")
	}
	c := generate(size)
	// What a later stage refers to is made by an earlier one.
	stages := [][]func(context.Context) error{
		creates(client.CoreV1().Namespaces().Create, c.namespaces),
		nil, nil,
	}
	for _, sa := range c.accounts {
		stages[1] = append(stages[1], func(ctx context.Context) error { return account(ctx, client, sa) })
	}
	stages[1] = append(stages[1], creates(client.RbacV1().ClusterRoles().Create, c.clusterRoles)...)
	for _, r := range c.roles {
		stages[1] = append(stages[1], creates(client.RbacV1().Roles(r.Namespace).Create, one(r))...)
	}
	stages[2] = append(stages[2], creates(client.RbacV1().ClusterRoleBindings().Create, c.clusterBindings)...)
	for _, b := range c.bindings {
		stages[2] = append(stages[2], creates(client.RbacV1().RoleBindings(b.Namespace).Create, one(b))...)
	}
	for _, p := range c.policies {
		stages[2] = append(stages[2], creates(client.NetworkingV1().NetworkPolicies(p.Namespace).Create, one(p))...)
	}
	for _, p := range c.pods {
		stages[2] = append(stages[2], creates(client.CoreV1().Pods(p.Namespace).Create, one(p))...)
	}
	for _, stage := range stages {
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(parallel)
		for _, create := range stage {
			group.Go(func() error { return create(ctx) })
		}
		if err := group.Wait(); err != nil {
			return Counts{}, fmt.Errorf("workload: %w", err)
		}
	}
	return Count(ctx, client)
}

func one[T any](object T) []T { return []T{object} }

// creates are the calls that make the objects of one kind.
func creates[T any](create func(context.Context, T, meta.CreateOptions) (T, error), objects []T) []func(context.Context) error {
	var calls []func(context.Context) error
	for _, object := range objects {
		calls = append(calls, func(ctx context.Context) error {
			_, err := create(ctx, object, meta.CreateOptions{})
			return err
		})
	}
	return calls
}

// account makes a service account. The one called default may have been made by
// the controller manager before; then it gets the same content.
func account(ctx context.Context, client kubernetes.Interface, sa *core.ServiceAccount) error {
	_, err := client.CoreV1().ServiceAccounts(sa.Namespace).Create(ctx, sa, meta.CreateOptions{})
	if !apierrors.IsAlreadyExists(err) || sa.Name != "default" {
		return err
	}
	automount := "null"
	if sa.AutomountServiceAccountToken != nil {
		automount = fmt.Sprint(*sa.AutomountServiceAccountToken)
	}
	patch := fmt.Sprintf(`{"metadata":{"labels":{%q:"true"}},"automountServiceAccountToken":%s}`, Label, automount)
	_, err = client.CoreV1().ServiceAccounts(sa.Namespace).Patch(ctx, sa.Name, types.MergePatchType, []byte(patch), meta.PatchOptions{})
	return err
}

// Count counts what the cluster has.
func Count(ctx context.Context, client kubernetes.Interface) (Counts, error) {
	pods, err1 := client.CoreV1().Pods("").List(ctx, meta.ListOptions{})
	roles, err2 := client.RbacV1().Roles("").List(ctx, meta.ListOptions{})
	clusterRoles, err3 := client.RbacV1().ClusterRoles().List(ctx, meta.ListOptions{})
	accounts, err4 := client.CoreV1().ServiceAccounts("").List(ctx, meta.ListOptions{})
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return Counts{}, fmt.Errorf("workload: %w", err)
	}
	return Counts{Pods: len(pods.Items), Roles: len(roles.Items) + len(clusterRoles.Items), ServiceAccounts: len(accounts.Items)}, nil
}

// Clear removes everything that Populate made, and waits until the namespace
// controller has ended the namespaces.
func Clear(ctx context.Context, client kubernetes.Interface) error {
	ours := meta.ListOptions{LabelSelector: selector}
	now := int64(0)
	at := meta.DeleteOptions{GracePeriodSeconds: &now}
	namespaces, err := client.CoreV1().Namespaces().List(ctx, ours)
	if err != nil {
		return fmt.Errorf("workload: %w", err)
	}
	errs := []error{
		client.RbacV1().ClusterRoleBindings().DeleteCollection(ctx, at, ours),
		client.RbacV1().ClusterRoles().DeleteCollection(ctx, at, ours),
		client.CoreV1().Pods(core.NamespaceDefault).DeleteCollection(ctx, at, ours),
	}
	for _, n := range namespaces.Items {
		errs = append(errs,
			client.CoreV1().Pods(n.Name).DeleteCollection(ctx, at, ours),
			client.CoreV1().Namespaces().Delete(ctx, n.Name, meta.DeleteOptions{}))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("workload: %w", err)
	}
	for {
		left, err := client.CoreV1().Namespaces().List(ctx, ours)
		if err != nil {
			return fmt.Errorf("workload: %w", err)
		}
		if len(left.Items) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("workload: %d namespaces are left: %w", len(left.Items), ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
}
