package fix

import "github.com/kubespray-hardener/kubespray-hardener/hardener/node"

// Words are what holds for every change to a component.
type Words struct {
	Guard string // what must hold before
	Proof string // what shows afterwards that all is well
	Undo  string // how it is taken back
}

// ComponentWords are the words about a component's changes; empty for one that
// nothing is changed of.
func ComponentWords(component string) Words {
	const manifest = "the manifest is put back as it was, then the files that came with it, then the health is proven again"
	switch component {
	case FilesGroup:
		return Words{
			Guard: "permissions are only taken away; directories keep their search bits; links are followed only into the node's own certificate and configuration directories; the owner exists on the node",
			Proof: "the same audit reads mode and owner again",
			Undo:  "mode and owner of each path are put back",
		}
	case node.APIServer:
		return Words{
			Guard: "every other control plane and all of etcd are healthy, the images are on the node, nobody else is changing the cluster; one control plane at a time",
			Proof: "the new process has the flag once; the manifest's own probes, asked without credentials, succeed; /readyz is ok on this node's address and through the load balancer; logs and exec work; it stays so for five minutes",
			Undo:  manifest,
		}
	case node.ControllerManager, node.Scheduler:
		return Words{
			Guard: "the API server answers; one control plane at a time",
			Proof: "the new process has the flag once; its probes succeed; it is started and ready for five minutes; its Lease is renewed",
			Undo:  manifest,
		}
	case node.Kubelet:
		return Words{
			Guard: "an API server answers; no swap, certificate or cgroup fault waits for the restart; one node at a time",
			Proof: "the kubelet runs for 30 seconds without another restart; /healthz on port 10248; the node's Lease is renewed; /configz shows the value; no container and no pod is missing",
			Undo:  "the file is put back and the kubelet restarted; pods that were made meanwhile keep what they started with",
		}
	case node.Etcd:
		return Words{
			Guard: "all members are healthy in one term and a snapshot is kept; one member at a time, the leader last",
			Proof: "every member is healthy, with one leader and no alarm; the process has the value in its environment; every API server's /readyz/etcd is ok",
			Undo:  "the environment file is put back and this member restarted; no other is touched while one is bad",
		}
	}
	return Words{}
}
