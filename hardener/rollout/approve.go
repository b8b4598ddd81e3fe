package rollout

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests"

	// approverLabel is what the chart of kubelet-csr-approver, which Kubespray
	// installs with kubelet_csr_approver_enabled, gives its Deployment.
	approverLabel = "app.kubernetes.io/name=kubelet-csr-approver"

	approveReason = "KubesprayHardenerApprove"
)

// approve begins to approve requests of kubelets for their serving certificates.
// What it returns ends that. Where the cluster has an approver of its own, that one
// decides: its rules may be stricter, and two would only race.
func (r *rollout) approve(ctx context.Context) (end func(), err error) {
	other, err := r.api.approver(ctx)
	if err != nil {
		return nil, err
	}
	if other != "" {
		r.tell(Progress{State: Note, Text: fmt.Sprintf("requests for serving certificates are left to Deployment %s", other)})
		return func() {}, nil
	}
	nodes, err := r.api.nodes(ctx)
	if err != nil {
		return nil, err
	}
	var servers []string
	for _, s := range r.in.servers {
		if host, _, err := net.SplitHostPort(s); err == nil {
			servers = append(servers, canonical(host))
		}
	}
	a := approver{rollout: r, claims: newClaims(nodes, servers, r.state.Plan.Control), said: map[string]bool{}}
	if err := a.round(ctx); err != nil { // whether it may at all
		return nil, err
	}
	r.tell(Progress{State: Note, Text: "this cluster has no approver: later requests, of a new node or once a year of each, need one as well (Kubespray's kubelet_csr_approver_enabled, or this rollout again)"})
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for sleep(ctx, approvePoll) == nil {
			if err := a.round(ctx); err != nil && ctx.Err() == nil {
				a.once("requests for serving certificates: " + err.Error())
			}
		}
	}()
	return func() { cancel(); <-ended }, nil
}

// approvePoll is how long a kubelet waits at most for its request to be seen: it
// is without a certificate meanwhile.
const approvePoll = 2 * time.Second

type approver struct {
	*rollout
	claims claims
	said   map[string]bool
}

// round looks at every request that nobody has decided on.
func (a *approver) round(ctx context.Context) error {
	var list certificatesv1.CertificateSigningRequestList
	path := requests + "?fieldSelector=" + url.QueryEscape("spec.signerName="+certificatesv1.KubeletServingSignerName)
	if err := a.api.get(ctx, path, &list); err != nil {
		return fmt.Errorf("certificate signing requests: %w", err)
	}
	for i := range list.Items {
		one := &list.Items[i]
		if len(one.Status.Conditions) > 0 || len(one.Status.Certificate) > 0 {
			continue
		}
		node, err := a.claims.refused(one)
		if err != nil {
			a.once(fmt.Sprintf("request %s of %s is not approved: %v", one.Name, one.Spec.Username, err))
			continue
		}
		one.TypeMeta = metav1.TypeMeta{APIVersion: "certificates.k8s.io/v1", Kind: "CertificateSigningRequest"}
		one.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{
			Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: approveReason,
			Message: "every name in it is node " + node + "'s",
		}}
		// With the version that was looked at: a request that changed is looked at again.
		err = a.api.once(ctx, http.MethodPut, requests+"/"+one.Name+"/approval", jsonType, one, nil)
		switch {
		case err == nil:
			a.tell(Progress{State: Note, Text: fmt.Sprintf("approved request %s of node %s for its serving certificate", one.Name, node)})
		case !conflict(err) && !notFound(err) && !passing(err):
			return fmt.Errorf("approve request %s: %w", one.Name, err)
		}
	}
	return nil
}

func (a *approver) once(text string) {
	if !a.said[text] {
		a.said[text] = true
		a.tell(Progress{State: Note, Text: oneLine(text)})
	}
}

// approver is the Deployment, NAMESPACE/NAME, that approves requests in this
// cluster, "" when there is none that runs.
func (a *API) approver(ctx context.Context) (string, error) {
	var list struct {
		Items []struct {
			Metadata metav1.ObjectMeta `json:"metadata"`
			Status   struct {
				ReadyReplicas int `json:"readyReplicas"`
			} `json:"status"`
		} `json:"items"`
	}
	if err := a.get(ctx, "/apis/apps/v1/namespaces/kube-system/deployments?labelSelector="+url.QueryEscape(approverLabel), &list); err != nil {
		return "", fmt.Errorf("approvers: %w", err)
	}
	for _, d := range list.Items {
		if d.Status.ReadyReplicas > 0 {
			return d.Metadata.Namespace + "/" + d.Metadata.Name, nil
		}
		return "", fmt.Errorf("Deployment %s/%s, which approves requests for serving certificates, is not ready", d.Metadata.Namespace, d.Metadata.Name)
	}
	return "", nil
}

// nodes are all Nodes.
func (a *API) nodes(ctx context.Context) (all []corev1.Node, err error) {
	for next := ""; ; {
		var list corev1.NodeList
		if err := a.get(ctx, fmt.Sprintf("/api/v1/nodes?limit=%d&continue=%s", pageSize, url.QueryEscape(next)), &list); err != nil {
			return nil, fmt.Errorf("nodes: %w", err)
		}
		for i := range list.Items {
			n := corev1.Node{}
			n.Name, n.Status.Addresses = list.Items[i].Name, list.Items[i].Status.Addresses
			all = append(all, n)
		}
		if next = list.Continue; next == "" {
			return all, nil
		}
	}
}
